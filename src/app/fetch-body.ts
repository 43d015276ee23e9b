/** What the light Request and Response share: bytes and text as the Body mixin gives them, and borrowed interfaces. */

/** Message of the TypeError for a body read twice. */
export const USED_BODY = 'Body is unusable: Body has already been read';

/** UTF-8 decode as text() and json() do it: a byte order mark is dropped, bad sequences become U+FFFD. */
export function decodeText(body: string | Uint8Array | null): string {
  if (body === null) return '';
  const text = typeof body === 'string' ? wellFormed(body) : asBuffer(body).toString('utf8');
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}

/** As the bytes of a string would be decoded: a lone surrogate is U+FFFD. */
function wellFormed(text: string): string {
  return (text as string & { toWellFormed(): string }).toWellFormed();
}

/** The body in an ArrayBuffer of its own. */
export function toArrayBuffer(body: string | Uint8Array | null): ArrayBuffer {
  if (body === null) return new ArrayBuffer(0);
  const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : body;
  const copy = new Uint8Array(bytes.byteLength);
  copy.set(bytes);
  return copy.buffer;
}

/** The same bytes as a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Gives proto all that the native interface has and proto itself lacks, answered by the native twin that toNative
 * makes. So what a later Node adds to the interface works, too.
 */
export function delegateRest<T extends object>(proto: T, native: object, toNative: (value: T) => object): void {
  for (const key of Reflect.ownKeys(native)) {
    if (Object.hasOwn(proto, key) || key === Symbol.toStringTag) continue;
    const descriptor = Object.getOwnPropertyDescriptor(native, key) as PropertyDescriptor;
    if (descriptor.get !== undefined) {
      Object.defineProperty(proto, key, {
        configurable: true,
        enumerable: descriptor.enumerable,
        get(this: T) {
          return Reflect.get(toNative(this), key);
        },
      });
    } else if (typeof descriptor.value === 'function') {
      Object.defineProperty(proto, key, {
        ...descriptor,
        value(this: T, ...args: unknown[]) {
          const twin = toNative(this);
          return (Reflect.get(twin, key) as (...args: unknown[]) => unknown).apply(twin, args);
        },
      });
    }
  }
}

/**
 * Node up to 22 keeps a Request's or Response's state under symbols of the object: forwarding those to the twin lets
 * the platform's own functions take our objects. Newer ones use private fields, and there this does nothing.
 */
export function forwardInternals<T extends object>(proto: T, sample: object, toNative: (value: T) => object): void {
  for (const key of Object.getOwnPropertySymbols(sample)) {
    Object.defineProperty(proto, key, {
      configurable: true,
      get(this: T) {
        return Reflect.get(toNative(this), key);
      },
    });
  }
}
