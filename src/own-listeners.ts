/**
 * Our own listeners for errors that nobody has caught, to be told from an app's: an app that listens for them goes on after one, as it
 * does on Node.
 */
type Event = 'uncaughtException' | 'unhandledRejection';

const ours = new WeakSet<object>();

/** Listens until `off`; it is no app's listener. */
export function listen(event: Event, listener: (error: unknown) => void): void {
  ours.add(listener);
  process.on(event, listener);
}

/** Somebody else listens, too. */
export function appListens(event: Event): boolean {
  return process.listeners(event as 'uncaughtException').some((listener) => !ours.has(listener));
}
