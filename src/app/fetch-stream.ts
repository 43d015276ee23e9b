/**
 * A request body as a web stream: a byte stream that pulls from Node's. A pull takes one piece, so nothing is read ahead of
 * the reader but what Node's stream has buffered, and the client is held back by TCP. Readable.toWeb() would do, at three
 * times the CPU for each piece, and without BYOB readers.
 */
import type { Readable } from 'node:stream';
import type { ReadableByteStreamController, UnderlyingByteSource } from 'node:stream/web';

/** Error of a body whose client left in the middle. */
export function leftEarly(): DOMException {
  return new DOMException('The client left before the body was complete', 'AbortError');
}

/**
 * The stream. The source is not touched before the first pull. Cancelling stops reading and leaves the source as it is: the
 * engine drains what is left, and a response can still be given.
 */
export function bodyStream(source: Readable): ReadableStream<Uint8Array> {
  let controller!: ReadableByteStreamController;
  /** Resolves the pull that waits for a piece. */
  let wake: (() => void) | null = null;
  let over = false;
  let listening = false;

  const finish = (error?: unknown) => {
    if (over) return;
    over = true;
    if (error === undefined) {
      controller.close();
      // A BYOB request that waits is told so; without one there is nothing to respond to.
      controller.byobRequest?.respond(0);
    } else controller.error(error);
    wake?.();
  };
  const onData = (chunk: Buffer) => {
    source.pause();
    controller.enqueue(owned(chunk));
    wake?.();
  };
  const listen = () => {
    listening = true;
    source.on('data', onData);
    source.once('end', () => finish());
    source.once('error', (error) => finish(error));
    source.once('close', () => finish(leftEarly()));
    if (source.destroyed) finish(source.errored ?? leftEarly());
  };

  return new ReadableStream(
    {
      type: 'bytes',
      start(c: ReadableByteStreamController) {
        controller = c;
      },
      pull() {
        return new Promise<void>((resolve) => {
          wake = () => {
            wake = null;
            resolve();
          };
          if (!listening) listen();
          if (over) wake?.();
          else source.resume();
        });
      },
      cancel() {
        over = true;
        source.off('data', onData).pause();
        wake?.();
      },
    } as UnderlyingByteSource,
    { highWaterMark: 0 },
  );
}

/** A byte stream takes the memory of a piece away from everybody else: one that shares it is copied. */
function owned(chunk: Buffer): Uint8Array {
  return chunk.byteLength === chunk.buffer.byteLength ? chunk : new Uint8Array(chunk);
}
