export interface ShutdownHandlers {
  /** The first signal: stop taking new work, let what is open finish. */
  first(signal: NodeJS.Signals): void;
  /** Every signal after it: end at once. */
  second(signal: NodeJS.Signals): void;
}

const SIGNALS = ["SIGTERM", "SIGINT"] as const;

/** Calls the handlers on SIGTERM and SIGINT, in whatever mixture they come, until disposed. */
export function onShutdownSignals(handlers: ShutdownHandlers): Disposable {
  let asked = false;
  const listener = (signal: NodeJS.Signals): void => {
    if (asked) return handlers.second(signal);
    asked = true;
    handlers.first(signal);
  };
  for (const signal of SIGNALS) process.on(signal, listener);
  return {
    [Symbol.dispose]() {
      for (const signal of SIGNALS) process.off(signal, listener);
    },
  };
}
