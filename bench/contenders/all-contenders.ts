import type { ContenderKind } from "../contender.ts";
import { bore } from "./bore.ts";
import { chisel } from "./chisel.ts";
import { culvert, culvertPlain, culvertTcp } from "./culvert.ts";
import { direct } from "./direct.ts";
import { frp, frpHttp, frpTls } from "./frp.ts";
import { gost } from "./gost.ts";
import { localtunnel } from "./localtunnel.ts";
import { nginxProxy } from "./nginx-proxy.ts";
import { rathole, ratholeNoise } from "./rathole.ts";
import { ssh } from "./ssh.ts";

/** The one whose ratios to the others count. */
export const OURS = culvert.name;

/** In the order of tables. */
export const CONTENDERS: readonly ContenderKind[] = [
  culvert,
  culvertPlain,
  culvertTcp,
  ssh,
  localtunnel,
  frpHttp,
  frpTls,
  frp,
  ratholeNoise,
  rathole,
  chisel,
  gost,
  bore,
  nginxProxy,
  direct,
];

export const QUICK_CONTENDERS = [culvert, ssh, nginxProxy, direct].map(({ name }) => name);
