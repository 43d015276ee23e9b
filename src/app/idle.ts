/** What keeps the event loop alive: timers, sockets, calls under way. Ports (to other threads, to standard output) may rest for ever. */
export function resources(): number {
  return process.getActiveResourcesInfo().filter((name) => name !== 'MessagePort' && name !== 'CloseReq').length;
}

/** Without work in the event loop for so many looks nothing is going to happen any more. */
const QUIET_LOOKS = 5;
const LOOK_MS = 20;

/**
 * Looks at the event loop until nothing is left in it beyond `baseline`: true; or until over() says that it need not go on: false. over is
 * asked before each look.
 */
export async function untilIdle(baseline: number, over: () => boolean): Promise<boolean> {
  for (let quiet = 0; quiet < QUIET_LOOKS; ) {
    if (over()) return false;
    const busy = await new Promise<boolean>((resolve) => {
      // Counted while the callback runs, like everything that is still to come.
      setTimeout(() => resolve(resources() > baseline + 1), LOOK_MS);
    });
    quiet = busy ? 0 : quiet + 1;
  }
  return !over();
}
