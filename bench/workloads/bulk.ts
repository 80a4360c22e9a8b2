import { FILES } from "../backend/backend.ts";
import { download, upload } from "../load/curl.ts";
import type { Figure, Measuring, Outcome, Workload } from "../workload.ts";

const SPEED: Figure = { name: "speed", title: "MB/s", better: "more" };

/** One file down, whole. */
export function down(file: keyof typeof FILES, title: string): Workload {
  return bulk(`down-${file}`, title, async (bench) => {
    const speed = await download(bench, `/${file}`, FILES[file]);
    return { figures: { speed }, bytes: FILES[file] };
  });
}

/** Several at a time; the speed is that of all together. */
export function downAtOnce(count: number, file: keyof typeof FILES, title: string): Workload {
  return bulk(`down-${count}`, title, async (bench) => {
    const bytes = count * FILES[file];
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: count }, () => download(bench, `/${file}`, FILES[file])));
    return { figures: { speed: bytes / 1_000 / (performance.now() - startedAt) }, bytes };
  });
}

export const up = bulk("up-1g", "1 GiB up", async (bench) => {
  const speed = await upload(bench, bench.backend.file, FILES["1g"]);
  return { figures: { speed }, bytes: FILES["1g"] };
});

function bulk(name: string, title: string, run: (bench: Measuring) => Promise<Outcome>): Workload {
  return { name, title, road: "here", figures: [SPEED], cpuPer: "GiB", run };
}
