import type { ContenderKind } from "../contender.ts";
import { freePort } from "../free-port.ts";
import { startNginx } from "../backend/nginx.ts";
import { portEntrance } from "./tunnel.ts";

/** A plain reverse proxy with connections kept on both sides: what HTTP costs with no tunnel in it. */
export const nginxProxy: ContenderKind = {
  name: "nginx",
  title: "nginx proxy",
  async start({ backend, road, directory }) {
    const service = await road.toClient(backend.port);
    const port = await freePort();
    const server = await startNginx({
      name: "nginx as a proxy",
      directory,
      at: road.atServer,
      http: `
        upstream service { server ${service.host}:${service.port}; keepalive 512; keepalive_requests 1000000000; }
        map $http_upgrade $connection_field { default upgrade; "" ""; }
        server {
          listen 127.0.0.1:${port} reuseport;
          location / {
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_field;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_read_timeout 1h;
          }
        }`,
    });
    return {
      kind: nginxProxy,
      entrance: portEntrance(port),
      server,
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
};
