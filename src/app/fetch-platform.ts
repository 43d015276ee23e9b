/**
 * The platform's own classes of fetch, whatever the globals become. Node loads them at the first look, which takes a thread 20 ms and
 * 1.4 MiB: nothing looks before an app does, or is one of fetch. From Node 22 on they are no accessors but properties that load at any
 * look, also at their descriptor, and what is replaced without one is lost: there each thread loads them at its start.
 */
export interface Platform {
  readonly Headers: typeof Headers;
  readonly Request: typeof Request;
  readonly Response: typeof Response;
}

const NAMES = ['Headers', 'Request', 'Response'] as const;
/** As they are before anybody replaces them; the properties are read later. */
const properties = NAMES.map((name) => Object.getOwnPropertyDescriptor(globalThis, name) ?? {});
let loaded: Platform | null = null;

/** Loads them. */
export function platform(): Platform {
  if (loaded === null) {
    const current = NAMES.map((name) => Object.getOwnPropertyDescriptor(globalThis, name) ?? {});
    const read = ({ get, value }: PropertyDescriptor): unknown => (get === undefined ? value : get.call(globalThis));
    const [headers, request, response] = properties.map(read);
    loaded = { Headers: headers, Request: request, Response: response } as Platform;
    // Node's accessors make themselves plain properties: not in place of what has come there.
    NAMES.forEach((name, i) => {
      if (current[i].get !== properties[i].get) Object.defineProperty(globalThis, name, current[i]);
    });
  }
  return loaded;
}

/** Gives globalThis another value under a name that it has. */
export function replaceGlobal(name: string, value: unknown): void {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: shown(name) });
}

/** The same with what value() gives at the first look; what is assigned before then stands. */
export function replaceGlobalLazily(name: string, value: () => unknown): void {
  Object.defineProperty(globalThis, name, {
    configurable: true,
    enumerable: shown(name),
    get() {
      const made = value();
      replaceGlobal(name, made);
      return made;
    },
    set: (assigned: unknown) => replaceGlobal(name, assigned),
  });
}

function shown(name: string): boolean {
  return Object.getOwnPropertyDescriptor(globalThis, name)?.enumerable ?? false;
}
