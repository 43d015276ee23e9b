/**
 * The tree of route patterns in shared memory: `GET` -> `/users` -> `/:id`. Its nodes are places of one hash table, and a route is
 * the number of a node; nothing is ever taken out.
 *
 * A place is taken in two steps by compare-and-swap, first one half of the node's 64-bit key, then the other; who meets half a
 * key that is the first half of its own completes it. So a pattern has the same number in all threads, and a thread may die
 * between any two words. The key is the identity: two hashes, seeded with a secret. The text is for people; every thread that
 * misses it writes it, all the same bytes.
 *
 * A node gets at most 64 literal children; other segments are `*` from then on. When the table is more than half full,
 * nodes get fewer, and new patterns have `*` wherever there are too many (/:owner/:repo/... of a thousand owners). What is in
 * the table already stays what it was, whatever comes later. Where nothing fits: route 0.
 *
 * Known URLs are found by a hash of their characters, up to the query, in a table of the thread's own: no string is kept.
 * (A Map of URLs took 110 ns where this takes 80: it hashes each new string too, needs the query cut off first, and holds
 * on to the request heads that the strings are slices of.)
 */
import { randomInt } from 'node:crypto';
import { ID, LITERAL, mix, PathSegments, WILD } from './route-pattern.js';

/** Everything else: odd URLs, and what came when the table was full. */
export const OTHER_ROUTE = 0;

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'OTHER'];

/** Places of the hash table; a power of two. Place p is node and route p + 1. */
const PLACES = 2048;
/** Numbers of routes are below this. */
export const ROUTES = PLACES + 1;
/** Places looked at for a key. */
const PROBES = 32;
const MAX_CHILDREN = 64;

// Header words.
const SEED_A = 0;
const SEED_B = 1;
const USED = 2;
const HEADER_WORDS = 16;

// Words of a node: both halves of its key, literal children, bytes of its text.
const KEY_A = 0;
const KEY_B = 1;
const CHILDREN = 2;
const TEXT_LENGTH = 3;
const NODE_WORDS = 4;

/** Bytes for a route's text; longer ones are cut. */
const TEXT_BYTES = 96;

const WORDS = HEADER_WORDS + ROUTES * NODE_WORDS;
/** Bytes of shared memory, a multiple of 8. */
export const TREE_BYTES = Math.ceil((WORDS * 4 + ROUTES * TEXT_BYTES) / 8) * 8;

/** Known URLs of a thread: three words each (two hashes, route), one place for each hash. */
const KNOWN_SHIFT = 20;
const KNOWN_URLS = 1 << (32 - KNOWN_SHIFT);
/** Paths longer than this are not kept there. */
const LONGEST_KNOWN = 256;
const QUESTION_MARK = 0x3f;

// Hashes of the segments that are not literal.
const ID_A = 0x3c6ef372;
const ID_B = 0x510e527f;
const WILD_A = 0x1f83d9ab;
const WILD_B = 0x5be0cd19;

/** Nonzero secret that all threads agree on: the first one to come chooses. */
function seed(words: Int32Array, at: number): number {
  const chosen = randomInt(1, 0x7fffffff);
  return Atomics.compareExchange(words, at, 0, chosen) || chosen;
}

function methodIndex(method: string): number {
  const index = METHODS.indexOf(method);
  return index < 0 ? METHODS.length - 1 : index;
}

/** A thread's view of the tree. The memory begins as zeros and needs no other preparation. */
export class RouteTree {
  private readonly words: Int32Array;
  private readonly texts: Buffer;
  private readonly seedA: number;
  private readonly seedB: number;
  private readonly path: PathSegments;
  private readonly known = new Int32Array(KNOWN_URLS * 3);
  /** The last place() took a new place. */
  private fresh = false;

  constructor(memory: SharedArrayBuffer) {
    this.words = new Int32Array(memory, 0, WORDS);
    this.texts = Buffer.from(memory, WORDS * 4, ROUTES * TEXT_BYTES);
    this.seedA = seed(this.words, SEED_A);
    this.seedB = seed(this.words, SEED_B);
    this.path = new PathSegments(this.seedA, this.seedB);
  }

  /** Route of a request line, as the parser has it; OTHER_ROUTE if it has none of its own. Never throws. */
  find(method: string, url: string): number {
    const kind = method === 'GET' ? 0 : methodIndex(method);
    const end = Math.min(url.length, LONGEST_KNOWN + 1);
    let a = this.seedA ^ (kind << 16);
    let b = this.seedB ^ (kind << 16);
    let i = 0;
    for (; i < end; i++) {
      const code = url.charCodeAt(i);
      if (code === QUESTION_MARK) break;
      a = Math.imul(a ^ code, 0x85ebca6b);
      b = Math.imul(b ^ code, 0x9e3779b1);
    }
    if (i > LONGEST_KNOWN) return this.lookUp(kind, url);
    const table = this.known;
    // The upper bits depend on all characters.
    const at = ((a ^ b) >>> KNOWN_SHIFT) * 3;
    if (table[at] === a && table[at + 1] === b) return table[at + 2];
    const route = this.lookUp(kind, url);
    table[at] = a;
    table[at + 1] = b;
    table[at + 2] = route;
    return route;
  }

  private lookUp(method: number, url: string): number {
    const { path } = this;
    if (!path.split(url)) return OTHER_ROUTE;
    const most = this.maxChildren();
    // While there is plenty of room one walk does: it goes by what exists wherever it can.
    const node = (most < MAX_CHILDREN && this.walk(method, most, false)) || this.walk(method, most, true);
    if (node !== 0 && this.words[node * NODE_WORDS + TEXT_LENGTH] === 0) this.writeText(node, method, url);
    return node;
  }

  /** Goes down the tree along the segments of `path`, perhaps making the nodes that it lacks; 0 if it finds no way. */
  private walk(method: number, most: number, make: boolean): number {
    const { path, words } = this;
    let a = mix(this.seedA + method);
    let b = mix(this.seedB - method);
    let node = this.place(a, b, make);
    for (let i = 0; i < path.count && node !== 0; i++) {
      let kind = path.kind[i];
      if (kind === LITERAL) {
        const room = words[node * NODE_WORDS + CHILDREN] < most;
        // In a crowded table nothing new grows below one child of many, else each of them would get the same subtree.
        const closed = make && !room && most < MAX_CHILDREN;
        const childA = mix(a ^ path.a[i]);
        const childB = mix(b ^ path.b[i]);
        const child = closed ? 0 : this.place(childA, childB, make && room);
        if (child !== 0) {
          if (this.fresh) Atomics.add(words, node * NODE_WORDS + CHILDREN, 1);
          path.taken[i] = LITERAL;
          a = childA;
          b = childB;
          node = child;
          continue;
        }
        kind = WILD;
      }
      path.taken[i] = kind;
      a = mix(a ^ (kind === ID ? ID_A : WILD_A));
      b = mix(b ^ (kind === ID ? ID_B : WILD_B));
      node = this.place(a, b, make);
    }
    return node;
  }

  /** Literal children that a node may have: 64, and half as many with each sixteenth of the table beyond its half. */
  private maxChildren(): number {
    return MAX_CHILDREN >> Math.max(0, Math.ceil((this.words[USED] - PLACES / 2) / (PLACES / 16)));
  }

  /** The node with a key; 0 if there is none and it is not to be made, or there is no place for it. Sets `fresh`. */
  private place(a: number, b: number, make: boolean): number {
    const { words } = this;
    this.fresh = false;
    for (let i = 0; i < PROBES; i++) {
      const node = ((a + i) & (PLACES - 1)) + 1;
      const at = node * NODE_WORDS;
      let there = words[at + KEY_A];
      if (there === 0) {
        if (!make) return 0;
        there = Atomics.compareExchange(words, at + KEY_A, 0, a);
        if (there === 0) there = a;
      }
      if (there !== a) continue;
      there = words[at + KEY_B];
      if (there === 0) {
        // Of this node, by a thread that is about to write the other half, or died; or of one whose first half is the same.
        there = Atomics.compareExchange(words, at + KEY_B, 0, b);
        if (there === 0) {
          this.fresh = true;
          Atomics.add(words, USED, 1);
          return node;
        }
      }
      if (there === b) return node;
    }
    return 0;
  }

  private writeText(node: number, method: number, url: string): void {
    let text = `${METHODS[method]} ${this.path.text(url)}`;
    if (text.length > TEXT_BYTES) text = `${text.slice(0, TEXT_BYTES - 3)}...`;
    this.texts.write(text, node * TEXT_BYTES, 'latin1');
    Atomics.store(this.words, node * NODE_WORDS + TEXT_LENGTH, text.length);
  }

  /** The route as people write it; '' for a number that is no route. */
  name(route: number): string {
    if (route === OTHER_ROUTE) return 'everything else';
    if (!(route > 0 && route < ROUTES)) return '';
    const length = Atomics.load(this.words, route * NODE_WORDS + TEXT_LENGTH);
    return this.texts.toString('latin1', route * TEXT_BYTES, route * TEXT_BYTES + length);
  }
}
