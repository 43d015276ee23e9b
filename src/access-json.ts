/**
 * The access log's JSON form: one object in a line, with the same members for every request, null where there is nothing to
 * show. What --access-logformat names beyond them (headers, variables, what a request cost) becomes a member of the
 * atom's own name: `"{x-forwarded-for}i"`, `"C"`.
 */
import { type AccessFacts, atomOf, COST_ATOMS, pathOf, queryOf, userOf } from './access-atoms.js';
import { type AccessFormat, atomNames, compileAccessFormat, HeaderValues } from './access-format.js';
import { escapeJson } from './log/text.js';

type Headers = readonly (string | undefined)[];
type Member = (facts: AccessFacts, headers: Headers) => string | number | null;

/** A time in ms; null where it was not measured. */
const ms = (value: number) => (value < 0 ? null : Math.round(value * 1000) / 1000);
const some = (text: string | null | undefined) => (text === undefined || text === '' ? null : text);
/** Where no head could be read, nothing is known of the request. */
const known =
  (show: (facts: AccessFacts) => string): Member =>
  (facts) =>
    facts.method === '' ? null : show(facts);

/** The members that every line has, in their order. */
function members(headers: HeaderValues): Record<string, Member> {
  const user = headers.want('authorization');
  const referer = headers.want('referer');
  const agent = headers.want('user-agent');
  return {
    time: () => new Date().toISOString(),
    pid: () => process.pid,
    thread: (f) => (f.thread === '' ? null : f.thread),
    remote_addr: (f) => some(f.remoteAddress),
    user: (_f, values) => userOf(values[user]),
    method: (f) => some(f.method),
    path: known((f) => pathOf(f.target)),
    query: known((f) => queryOf(f.target)),
    protocol: known((f) => `HTTP/1.${f.versionMinor}`),
    status: (f) => f.status,
    bytes: (f) => f.bodyBytes,
    duration_ms: (f) => ms(f.durationMs),
    queue_ms: (f) => ms(f.queueMs),
    referer: (_f, values) => some(values[referer]),
    user_agent: (_f, values) => some(values[agent]),
    route: (f) => some(f.route),
    id: (f) => some(f.id),
  };
}

/** What an atom shows that no member shows; null: a member does, or it shows nothing. */
function extra(name: string, headers: HeaderValues): Member | null {
  const [, field, kind] = /^\{(.*)\}([io])$/i.exec(name) ?? [];
  if (kind !== undefined) {
    const lower = field.toLowerCase();
    if (kind.toLowerCase() === 'o') return (f) => some(f.responseHeader?.(lower));
    const at = headers.want(lower);
    return (_f, values) => some(values[at]);
  }
  if (name === 'C') return (f) => ms(f.cpuUs / 1000);
  if (name === 'E') return (f) => ms(f.loopUs / 1000);
  if (!/^\{.*\}e$/i.test(name)) return null;
  const atom = atomOf(name, headers);
  return typeof atom === 'string' ? () => atom : atom;
}

/** A format in one of the two forms of --log-format. @throws {SyntaxError} */
export function compileAccess(form: 'text' | 'json', format: string): AccessFormat {
  const text = compileAccessFormat(format);
  return form === 'json' ? compileAccessJson(format) : text;
}

/** The JSON form of a format that compiles as text. */
function compileAccessJson(format: string): AccessFormat {
  const headers = new HeaderValues();
  const shown = Object.entries(members(headers));
  const names = [...new Set(atomNames(format))];
  for (const name of names) {
    const member = extra(name, headers);
    if (member !== null) shown.push([name, member]);
  }
  return {
    line(facts) {
      const values = headers.of(facts.rawHeaders);
      const object: Record<string, string | number | null> = {};
      for (const [name, member] of shown) object[name] = member(facts, values);
      return escapeJson(JSON.stringify(object));
    },
    needsTime: true,
    needsCost: names.some((name) => name.length === 1 && name !== 'Q' && COST_ATOMS.includes(name)),
  };
}
