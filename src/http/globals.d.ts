/** What Node has and its type definitions leave out. */
declare global {
  interface Buffer {
    /** The fast path of toString('latin1', start, end). */
    latin1Slice(start?: number, end?: number): string;
  }
  namespace WebAssembly {
    interface Memory {
      readonly buffer: ArrayBuffer;
    }
    class Module {
      constructor(bytes: Uint8Array);
    }
    class Instance {
      readonly exports: Record<string, unknown>;
      constructor(module: Module, imports: Record<string, Record<string, unknown>>);
    }
  }
}

export {};
