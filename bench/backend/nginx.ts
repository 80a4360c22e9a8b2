import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { findProgram } from "../needed-programs.ts";
import { Program } from "../program.ts";

export interface NginxOptions {
  name: string;
  /** An empty one of its own. */
  directory: string;
  /** What stands before the command. */
  at: readonly string[];
  /** What goes into `http { … }`. */
  http: string;
}

/** As many workers as processors, no access log, connections kept for ever. */
export async function startNginx({ name, directory, at, http }: NginxOptions): Promise<Program> {
  const config = join(directory, "nginx.conf");
  // Its workers would be another user's, who cannot read the directory.
  const user = process.getuid?.() === 0 ? "user root;" : "";
  writeFileSync(
    config,
    `${user}
    daemon off;
    worker_processes auto;
    worker_rlimit_nofile 20000;
    pid ${directory}/nginx.pid;
    error_log stderr notice;
    events { worker_connections 19000; multi_accept on; }
    http {
      access_log off;
      sendfile on;
      tcp_nopush on;
      tcp_nodelay on;
      keepalive_timeout 1h;
      keepalive_requests 1000000000;
      client_max_body_size 0;
      client_body_temp_path ${directory};
      proxy_temp_path ${directory};
      fastcgi_temp_path ${directory};
      uwsgi_temp_path ${directory};
      scgi_temp_path ${directory};
      ${http}
    }`,
  );
  const program = new Program({
    name,
    command: [...at, findProgram("nginx")!, "-p", directory, "-e", "stderr", "-c", config],
    logFile: join(directory, "nginx.log"),
  });
  try {
    await program.said(/start worker process \d+/);
    return program;
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
}
