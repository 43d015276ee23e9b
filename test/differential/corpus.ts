/**
 * The differential corpus: cases, each the bytes of one or more requests and what the client does, run at the same time against
 * node:http and against tunicorn with the same handlers (app.mjs). Compared are the bytes that came (Date aside), how the connection
 * stands in the end, and what the handlers noted, in its order.
 *
 * A case is over when nothing has changed on both sides for a moment; where they differ, they get more time, and then another try
 * with nothing beside them: what differs is what differs whenever it is looked at. All notes are looked at once more at the end of
 * the run, for what came late or twice.
 */
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Differential } from '../support/differential.js';
import { until } from '../support/poll.js';
import { RawClient } from '../support/raw-client.js';

/** What a client does: sends a string in one piece; waits for a note that begins so, or for so many bytes; or something else. */
export type Step = string | { note: string } | { bytes: number } | 'END' | 'RESET' | 'DESTROY' | 'PAUSE' | 'RESUME';

export interface Case {
  name: string;
  /** In what is sent, {handler} is the target that the handler of this name answers, {client} and {server} are the ports. */
  steps: readonly Step[];
  /** A reset counts as an end: which of the two a client sees is a matter of time. */
  anyEnd?: boolean;
  /** The entry of docs/node-differences.md that says why node:http and tunicorn differ here. */
  differs?: string;
}

/** One side of a case. */
interface Seen {
  bytes: string;
  connection: 'open' | 'ended' | 'reset';
  notes: string[];
}

export interface Outcome {
  case: Case;
  node: Seen;
  tunicorn: Seen;
  same: boolean;
}

const APP = 'test/differential/app.mjs';
const OPTIONS = ['--threads', '2', '--graceful-timeout', '1'];
/** s: longer than a case takes on a busy machine. */
const KEEP_ALIVE = 30;
/** Cases that run at once. */
const AT_ONCE = 12;
/** ms: nothing has changed for so long; how long sides that differ may take to become the same. */
const QUIET = 60;
const PATIENCE = 1000;
const TRIES = 6;
const NOTHING = Buffer.alloc(0);
/** Bytes of a response that are compared, and shown, as they are. */
const MOST_SHOWN = 16384;
/** More cases that differ are no accidents. */
const MOST_AGAIN = 15;

/** One request: method and {handler}, fields (each with its CR LF), body. */
export function request(method: string, handler: string, fields = '', body = '', version = '1.1'): string {
  return `${method} {${handler}} HTTP/${version}\r\nHost: x\r\n${fields}\r\n${body}`;
}

/** The names of the handlers of one of the files beside app.mjs. */
export async function handlerNames(file: string): Promise<string[]> {
  const module = await import(new URL(`../../../test/differential/${file}.mjs`, import.meta.url).href);
  return Object.keys(module[file]);
}

/** What a client received: the beginning as it is, the rest by length and hash. */
class Received {
  private start = Buffer.alloc(0);
  private readonly rest = createHash('sha1');
  private more = 0;

  add(chunk: Buffer): void {
    const room = Math.max(0, MOST_SHOWN - this.start.length);
    if (room > 0) this.start = Buffer.concat([this.start, chunk.subarray(0, room)]);
    if (chunk.length > room) {
      this.more += chunk.length - room;
      this.rest.update(chunk.subarray(room));
    }
  }

  get text(): string {
    const text = this.start.toString('latin1').replace(/\r\nDate: \w{3}, \d\d \w{3} 2\d{3} [^\r]*/g, '\r\nDate: now');
    return this.more === 0 ? text : `${text}... ${this.more} more, ${this.rest.copy().digest('hex')}`;
  }
}

class Side {
  readonly port: number;
  private readonly folder: string;
  /** How much of each file has been read, and what each case has noted so far. */
  private readonly seen = new Map<string, number>();
  private readonly noted = new Map<string, string[]>();

  constructor(port: number, folder: string) {
    this.port = port;
    this.folder = folder;
  }

  /** Request by request, and those of each in their order: a connection's requests may be served by several threads. */
  notes(id: string): string[] {
    for (const name of readdirSync(this.folder)) this.readMore(name);
    const lines = this.noted.get(id) ?? [];
    return lines.toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  }

  private readMore(name: string): void {
    const from = this.seen.get(name) ?? 0;
    const path = join(this.folder, name);
    const size = statSync(path).size;
    if (size === from) return;
    const bytes = Buffer.alloc(size - from);
    const fd = openSync(path, 'r');
    readSync(fd, bytes, 0, bytes.length, from);
    closeSync(fd);
    // The last line may be half written.
    const end = bytes.lastIndexOf(10) + 1;
    this.seen.set(name, from + end);
    for (const line of bytes.toString('utf8', 0, end).split('\n')) {
      const dot = line.indexOf('.');
      if (dot < 0) continue;
      const id = line.slice(0, dot);
      const lines = this.noted.get(id) ?? [];
      lines.push(line.slice(dot + 1));
      this.noted.set(id, lines);
    }
  }

  /** Does the steps on a connection of its own. look: what there is to see by now. */
  async play({ steps, anyEnd }: Case, id: string): Promise<{ look: () => Seen; leave: () => void }> {
    const client = await RawClient.connect(this.port);
    const received = new Received();
    client.socket.on('data', (chunk) => {
      received.add(chunk);
      // Nobody takes responses out of it.
      client.data = NOTHING;
    });
    const names = { client: String(client.port), server: String(this.port) };
    let requests = 0;
    const fill = (text: string) =>
      text.replace(/\{([a-z0-9-]+)\}/g, (_, name: string) =>
        name in names ? names[name as 'client'] : `/${name}?${id}.${++requests}`,
      );
    for (const step of steps) {
      if (step === 'END') client.socket.end();
      else if (step === 'RESET') client.socket.resetAndDestroy();
      else if (step === 'DESTROY') client.destroy();
      else if (step === 'PAUSE') client.socket.pause();
      else if (step === 'RESUME') client.socket.resume();
      else if (typeof step === 'string') await client.send(fill(step));
      else if ('bytes' in step) {
        await until(() => client.received >= step.bytes || client.ended, { everyMs: 2, what: 'bytes' });
      } else {
        const noted = () => this.notes(id).some((line) => line.replace(/^\d+ /, '').startsWith(step.note));
        await until(noted, { everyMs: 4, timeoutMs: 3000, what: `the note ${step.note}` }).catch(() => {});
      }
    }
    const gone = client.socket.destroyed;
    return {
      look: () => ({
        // Of one that has left, nobody can say how much it had received.
        bytes: gone ? '' : received.text,
        connection: gone ? 'ended' : client.error && !anyEnd ? 'reset' : client.ended ? 'ended' : 'open',
        notes: this.notes(id),
      }),
      leave: () => client.destroy(),
    };
  }
}

/** Something has come of it. */
const begun = (seen: Seen) => seen.connection !== 'open' || seen.bytes !== '' || seen.notes.length > 0;
const text = (seen: Seen) => JSON.stringify(seen);

export class Corpus {
  private readonly folder: string;
  private readonly both: Differential;
  private readonly sides: [Side, Side];
  private count = 0;

  private constructor(folder: string, both: Differential, folders: [string, string]) {
    this.folder = folder;
    this.both = both;
    this.sides = [new Side(both.nodePort, folders[0]), new Side(both.server.port, folders[1])];
  }

  static async start(): Promise<Corpus> {
    const folder = mkdtempSync(join(tmpdir(), 'tunicorn-differential-'));
    const folders: [string, string] = [join(folder, 'node'), join(folder, 'tunicorn')];
    for (const name of folders) mkdirSync(name);
    const [node, tunicorn] = folders.map((name) => ({
      DIFFERENTIAL_LOG: join(name, 'notes'),
      KEEP_ALIVE: String(KEEP_ALIVE),
    }));
    const both = await Differential.start(APP, [...OPTIONS, '--keep-alive', String(KEEP_ALIVE)], {
      env: [node, tunicorn],
    });
    // The threads are ready when one of them answers.
    await both.server.talk('GET /end-string?ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    return new Corpus(folder, both, folders);
  }

  /** Runs the cases, some at once; in the order given. */
  async run(cases: readonly Case[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    const ids: string[] = [];
    const runSome = async (indexes: number[], atOnce: number) => {
      const lane = async () => {
        for (let i = indexes.shift(); i !== undefined; i = indexes.shift()) {
          outcomes[i] = await this.once(cases[i], (ids[i] = this.id()));
        }
      };
      await Promise.all(Array.from({ length: atOnce }, lane));
    };
    await runSome([...cases.keys()], AT_ONCE);
    for (let n = 1; n <= TRIES; n++) {
      // What has come late counts as well.
      await sleep(QUIET);
      for (let i = 0; i < cases.length; i++) this.lookAgain(outcomes[i], ids[i]);
      const again = [...cases.keys()].filter((i) => !outcomes[i].same && cases[i].differs === undefined);
      if (n < TRIES && again.length <= MOST_AGAIN) await runSome(again, 1);
    }
    return outcomes;
  }

  private lookAgain(outcome: Outcome, id: string): void {
    const [node, tunicorn] = this.sides.map((side) => side.notes(id));
    if (!outcome.same || JSON.stringify(node) === JSON.stringify(tunicorn)) return;
    outcome.same = false;
    outcome.node.notes = node;
    outcome.tunicorn.notes = tunicorn;
  }

  private id(): string {
    return `c${++this.count}`;
  }

  private async once(the: Case, id: string): Promise<Outcome> {
    const plays = await Promise.all(this.sides.map((side) => side.play(the, id)));
    const start = performance.now();
    let seen = plays.map((play) => play.look());
    let since = start;
    for (;;) {
      await sleep(15);
      const now = performance.now();
      const before = seen;
      seen = plays.map((play) => play.look());
      if (text(before[0]) !== text(seen[0]) || text(before[1]) !== text(seen[1])) since = now;
      const quiet = now - since > QUIET && seen.every(begun);
      if (quiet && (text(seen[0]) === text(seen[1]) || now - start > PATIENCE)) break;
      if (now - start > 5 * PATIENCE) break;
    }
    for (const play of plays) play.leave();
    const [node, tunicorn] = seen;
    return { case: the, node, tunicorn, same: text(node) === text(tunicorn) };
  }

  async stop(): Promise<void> {
    await this.both.stop();
    rmSync(this.folder, { recursive: true });
  }
}

/** Both sides of a case that differ, line by line: - node:http, + tunicorn. */
export function explain({ case: the, node, tunicorn }: Outcome): string {
  const lines = (seen: Seen) => [`connection ${seen.connection}`, ...short(seen.bytes), ...seen.notes];
  return [`=== ${the.name}`, ...difference(lines(node), lines(tunicorn))].join('\n');
}

function short(bytes: string): string[] {
  const cut = (line: string) => (line.length > 300 ? `${line.slice(0, 100)}... ${line.length} characters` : line);
  return bytes.split('\r\n').map((line) => JSON.stringify(cut(line)));
}

/** The longest common lines stay, marked by spaces. */
function difference(a: string[], b: string[]): string[] {
  const common = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i][j] = a[i] === b[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const out: string[] = [];
  for (let i = 0, j = 0; i < a.length || j < b.length; ) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push(`    ${a[i++]}`);
      j++;
    } else if (i < a.length && (j === b.length || common[i + 1][j] >= common[i][j + 1])) out.push(`  - ${a[i++]}`);
    else out.push(`  + ${b[j++]}`);
  }
  return out;
}
