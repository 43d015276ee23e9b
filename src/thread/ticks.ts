/**
 * What the event loop does behind a callback, without going back to it: what the callback has left to process.nextTick() and to promises is
 * run. So one call from the loop serves many requests, each as if the loop had called it. To enter JavaScript from C++ for each of
 * them costs about 0.7 us more, 7 % of a light request.
 */
import { native } from '../native/binding.js';

/**
 * Node's own function, which its timers call between two callbacks; undocumented (DEP0134). Null where it has another name: with
 * --pending-deprecation it is wrapped in a warning.
 */
const nodes = (process as unknown as { _tickCallback?: () => void })._tickCallback;
const runNextTicks = typeof nodes === 'function' && nodes.name === 'runNextTicks' ? nodes : null;

/**
 * Runs the ticks and microtasks that are due; nothing else may be on the stack than a callback of the event loop. What one throws is told
 * as uncaught. False: this Node does not let us, or one has thrown: back to the loop, which runs what is left.
 */
export function runTicks(): boolean {
  if (runNextTicks === null) return false;
  try {
    runNextTicks();
    return true;
  } catch (error) {
    native.uncaught(error);
    return false;
  }
}
