import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../../bench/free-port.ts";
import { OutsideProgram } from "./outside-program.ts";

/**
 * A real nginx in the foreground with one server of HTTP, on a port of its own of 127.0.0.1.
 *
 * @param directory empty, and removed by whoever made it
 * @param server what its configuration says; `documents` is a directory that it may write to
 */
export async function startNginx(
  directory: string,
  server: (places: { port: number; documents: string }) => string,
): Promise<OutsideProgram & { port: number; documents: string }> {
  const port = await freePort();
  const documents = join(directory, "documents");
  await mkdir(documents);
  // As root it has workers of another user.
  await chmod(directory, 0o755);
  await chmod(documents, 0o777);
  const file = join(directory, "nginx.conf");
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  await writeFile(
    file,
    `daemon off;
pid ${directory}/pid;
error_log stderr notice;
events {}
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${directory}/${name};`).join("\n  ")}
  server {
    root ${documents};
    ${server({ port, documents })}
  }
}
`,
  );
  const nginx = new OutsideProgram(["nginx", "-p", directory, "-e", "stderr", "-c", file]);
  await nginx.printed("start worker process");
  return Object.assign(nginx, { port, documents });
}
