import { setFlagsFromString } from "node:v8";

/**
 * Lets garbage grow to three times what is in use before all of it is collected. That is what V8 does by itself where objects
 * are made quickly; here buffers are, which it counts like objects, but not as a reason to wait: at 300 MB a second it would go
 * through the whole heap twenty times a second, and take a third of the processor for it (measured; without this a
 * download has half the speed). It costs some 10 MB. The bound on the whole heap stays what it is.
 */
export function letHeapGrow(): void {
  setFlagsFromString("--heap-growing-percent=300");
}
