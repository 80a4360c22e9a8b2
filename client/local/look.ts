/** Whether a local service may be dialled and answers, before the first visitor finds out. */
import type { TargetAnswer } from "../../link/messages.ts";
import { type DialFailure, dialFailure } from "./dial-failure.ts";
import type { Listeners } from "./listeners.ts";
import type { LocalService } from "./local-service.ts";

/** Nobody waits for the answer, and a service on a LAN that takes longer is not well. */
const LOOK_TIMEOUT_MS = 3_000;

export interface Look {
  allowed: boolean;
  answer: TargetAnswer;
  /** Why it does not answer, or may not be dialled after its name was looked up. */
  failure?: DialFailure | undefined;
}

/**
 * Looks whether somebody listens there, else connects and hangs up at once: a program that takes one connection only, such as
 * `nc -l`, keeps it for a visitor. Once the signal is aborted, a service has not been looked at.
 */
export async function lookAt(
  service: LocalService,
  { listeners, signal }: { listeners: Listeners; signal: AbortSignal },
): Promise<Look> {
  if (service.isAmong(listeners)) return { allowed: true, answer: "ANSWERS" };
  return knockAt(service, signal);
}

function knockAt(service: LocalService, signal: AbortSignal): Promise<Look> {
  return new Promise((resolve) => {
    let look: Look = { allowed: true, answer: "NOT_LOOKED_AT" };
    const socket = service.knock(LOOK_TIMEOUT_MS);
    const stop = (): void => void socket.destroy();
    socket.once("connect", () => {
      look = { allowed: true, answer: "ANSWERS" };
      stop();
    });
    socket.once("error", (error) => {
      const failure = dialFailure(error, service.target);
      if (failure?.code === "NOT_ALLOWED") look = { allowed: false, answer: "NOT_LOOKED_AT", failure };
      else look = { allowed: true, answer: "NO_ANSWER", failure };
    });
    socket.once("close", () => {
      signal.removeEventListener("abort", stop);
      resolve(look);
    });
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
  });
}
