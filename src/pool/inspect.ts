/**
 * The JavaScript stack of a thread that is stuck in a synchronous stretch, for the log, before it is ended.
 *
 * V8 handles the inspector's messages at its interrupt checks (every loop's turn, every call), so a thread that never turns
 * its event loop still answers. It is asked to evaluate a `throw` on top of what it runs: the exception's frames are the
 * stack. That is a few milliseconds, while Debugger.enable and Debugger.pause first report every script, and a thread that
 * is paused when its session goes away can no longer be terminated. A thread inside native code (crypto, JSON.parse of a
 * huge text, execSync) answers only when that returns. The frames are V8's own: Error.prepareStackTrace,
 * Error.stackTraceLimit and source maps have no part in them, so the lines are those of the file as run.
 *
 * There is one session for the process, opened before its first thread: NodeWorker.enable walks through the threads that
 * exist and calls JavaScript for each, and if a thread ends meanwhile, Node 20 follows a dangling pointer. No domain is
 * enabled in a thread but while it is asked, so it pays nothing for being attached.
 */
import type { Runtime, Session } from 'node:inspector';
import { createRequire } from 'node:module';

const MAX_FRAMES = 20;
/** Names our own frame, which is not part of the stack. */
const PROBE = 'tunicorn:stack';

/**
 * What a thread is asked, in this order. Only an enabled Runtime records the frames of what is thrown. Console entries are
 * dropped because enable would send them all. Without the disable at the end the thread would report what it writes to
 * the console, and V8 aborts the process if a thread is terminated in the middle of that.
 */
const QUESTIONS = [
  { method: 'Runtime.discardConsoleEntries' },
  { method: 'Runtime.enable' },
  { method: 'Runtime.evaluate', params: { expression: `throw 0 //# sourceURL=${PROBE}`, silent: true } },
  { method: 'Runtime.disable' },
];
const STACK = 2;
const DONE = 3;
/** How often a thread is asked again that was between two calls: in its event loop, or between ticks. */
const AGAIN = 20;

interface Asked {
  sessionId: string;
  stack: string | null;
  again: number;
  resolve(stack: string | null): void;
}

/** undefined: not opened yet; null: this Node has no inspector. */
let session: Session | null | undefined;
/** threadId -> session id. */
const attached = new Map<number, string>();
/** By number; the ids of its messages are number * QUESTIONS.length + index. */
const asked = new Map<number, Asked>();
let lastNumber = 0;

/** Attaches to every thread that will be started. To be called before the first one is; again without effect. */
export function openInspector(): void {
  if (session !== undefined) return;
  session = null;
  try {
    const inspector = createRequire(import.meta.url)('node:inspector') as typeof import('node:inspector');
    const opened = new inspector.Session();
    opened.connect();
    opened.on('NodeWorker.attachedToWorker', ({ params: { sessionId, workerInfo } }) => {
      // workerId only counts what was attached; the thread's own number is in the title: "[worker 7] name".
      attached.set(Number(/^\[?worker (\d+)/i.exec(workerInfo.title)?.[1]), sessionId);
    });
    opened.on('NodeWorker.detachedFromWorker', ({ params: { sessionId } }) => {
      for (const [threadId, id] of attached) if (id === sessionId) attached.delete(threadId);
      for (const question of asked.values()) if (question.sessionId === sessionId) question.resolve(null);
    });
    opened.on('NodeWorker.receivedMessageFromWorker', ({ params: { message } }) => onMessage(message));
    opened.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
    session = opened;
  } catch {
    // Not every build of Node has it, nor is it always allowed.
  }
}

/**
 * The stack of a worker thread of this process, one line for each frame as V8 prints them, at most 20. Called on the main
 * thread. null if the thread does not answer within `ms`, has no JavaScript on its stack, or is not there (any more).
 * Never rejects; the thread goes on meanwhile.
 * @param threadId worker_threads' threadId of the thread.
 */
export function stackOf(threadId: number, ms: number): Promise<string | null> {
  openInspector();
  const sessionId = attached.get(threadId);
  if (sessionId === undefined) return Promise.resolve(null);
  const number = ++lastNumber;
  return new Promise((done) => {
    const resolve = (stack: string | null): void => {
      clearTimeout(timer);
      asked.delete(number);
      done(stack);
    };
    const timer = setTimeout(resolve, ms, null);
    asked.set(number, { sessionId, stack: null, again: AGAIN, resolve });
    ask(number, sessionId);
  });
}

function ask(number: number, sessionId: string): void {
  for (const [i, question] of QUESTIONS.entries()) {
    const message = JSON.stringify({ id: number * QUESTIONS.length + i, ...question });
    session?.post('NodeWorker.sendMessageToWorker', { sessionId, message }, (error) => {
      if (error) asked.get(number)?.resolve(null);
    });
  }
}

function onMessage(message: string): void {
  const { id = -1, result } = JSON.parse(message) as { id?: number; result?: Runtime.EvaluateReturnType };
  const number = Math.floor(id / QUESTIONS.length);
  const question = asked.get(number);
  if (question === undefined) return;
  const index = id % QUESTIONS.length;
  if (index === STACK) question.stack = format(result?.exceptionDetails?.stackTrace?.callFrames ?? []);
  if (index !== DONE) return;
  if (question.stack === null && question.again-- > 0) ask(number, question.sessionId);
  else question.resolve(question.stack);
}

function format(frames: Runtime.CallFrame[]): string | null {
  const lines = frames
    .filter(({ url }) => url !== PROBE)
    .slice(0, MAX_FRAMES)
    .map(({ functionName, url, lineNumber, columnNumber }) => {
      const place = `${url || '<anonymous>'}:${lineNumber + 1}:${columnNumber + 1}`;
      return functionName === '' ? `    at ${place}` : `    at ${functionName} (${place})`;
    });
  return lines.length === 0 ? null : lines.join('\n');
}
