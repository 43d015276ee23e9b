/**
 * The mixed scenario: what light requests feel of heavy ones beside them. Two parts, each a set of rounds:
 * `mixed` is an open load that a machine of two cores can carry (4 clients that together ask for 16 heavy requests a second, all
 * four at the same instant, beside 320 light ones), `mixed-closed` one that it cannot (16 clients that each ask for a heavy
 * request as soon as the last was answered, beside the same 320). Its heavy throughput is compared with what the same
 * work reaches without a server, in the same round (apps/cores.ts). mixed-measure.ts makes one run.
 */
import { heavy } from './apps/work.js';
import { median, type Settings, shuffled } from './measure.js';
import {
  findPriority,
  MIXED_PARTS,
  type MixedFigures,
  type MixedPart,
  type MixedRun,
  measureMixed,
  type Priority,
} from './mixed-measure.js';
import { mixedText } from './mixed-report.js';
import { CORES, type Server } from './servers.js';

export interface MixedSummary {
  server: string;
  title: string;
  part: MixedPart;
  good: number;
  failed: number;
  reasons: string[];
  errors: Record<string, number>;
  notes: string[];
  /** Medians; undefined when no run was good. */
  median?: MixedFigures;
  /** Against each other server, by name: medians over the rounds of the ratios within a round. */
  against: Record<string, { lightP99: number; heavyRate: number }>;
}

export interface MixedResult {
  settings: { duration: number; warmup: number; priority: string };
  runs: MixedRun[];
  summaries: MixedSummary[];
}

/**
 * Both parts, each printed when it is done. `iterations` of the CPU task are 5 ms; `settings.duration` and `warmup` in
 * seconds.
 */
export async function runMixed(
  present: readonly Server[],
  rounds: number,
  iterations: number,
  settings: Settings,
  progress: (text: string) => void,
): Promise<MixedResult> {
  const { duration, warmup, threads } = settings;
  const priority = findPriority();
  const how = `${rounds} x ${duration} s after ${warmup} s, piscina with ${threads} threads`;
  console.log(`\nmixed: ${how}, generator at ${priority.name} priority`);
  const candidates = present.filter(({ scenarios }) => scenarios.includes('mixed'));
  const digest = heavy(iterations);
  const runs: MixedRun[] = [];
  const summaries: MixedSummary[] = [];
  for (const part of MIXED_PARTS) {
    // The closed part has the machine itself at the table's end.
    const servers = part === 'mixed' ? candidates : [...candidates, CORES];
    runs.push(...(await runPart(part, servers, rounds, digest, priority, settings, progress)));
    const own = summariseMixed(runs, servers, part);
    summaries.push(...own);
    console.log(`\n${mixedText(part, own)}`);
  }
  return { settings: { duration, warmup, priority: priority.name }, runs, summaries };
}

/** All rounds of one part, the servers shuffled within each. */
async function runPart(
  part: MixedPart,
  servers: readonly Server[],
  rounds: number,
  digest: string,
  priority: Priority,
  settings: Settings,
  progress: (text: string) => void,
): Promise<MixedRun[]> {
  const runs: MixedRun[] = [];
  for (let round = 1; round <= rounds; round++) {
    for (const server of shuffled(servers)) {
      progress(`${part}, round ${round} of ${rounds}: ${server.title}`);
      runs.push(await measureMixed(server, part, round, digest, priority, settings));
    }
  }
  progress('');
  return runs;
}

/** Summaries of one part in the order of `servers`. */
export function summariseMixed(runs: MixedRun[], servers: readonly Server[], part: MixedPart): MixedSummary[] {
  const ofPart = runs.filter((run) => run.part === part);
  return servers.map(({ name, title }) => {
    const own = ofPart.filter(({ server }) => server === name);
    const good = own.flatMap(({ figures }) => figures ?? []);
    const summary: MixedSummary = {
      server: name,
      title,
      part,
      good: good.length,
      failed: own.length - good.length,
      reasons: [...new Set(own.flatMap(({ failed }) => failed ?? []))],
      errors: {},
      notes: [...new Set(own.flatMap(({ notes }) => notes))],
      against: {},
    };
    for (const { errors } of own) {
      for (const [reason, count] of Object.entries(errors)) {
        summary.errors[reason] = (summary.errors[reason] ?? 0) + count;
      }
    }
    if (good.length > 0) {
      const keys = Object.keys(good[0]) as Array<keyof MixedFigures>;
      const medians = keys.map((key) => [key, median(good.map((figures) => figures[key]))]);
      summary.median = Object.fromEntries(medians) as MixedFigures;
    }
    for (const other of servers) {
      if (other.name === name) continue;
      const ratio = (key: keyof MixedFigures) => pairedRatio(ofPart, key, name, other.name);
      summary.against[other.name] = { lightP99: ratio('lightP99Ms'), heavyRate: ratio('heavyRate') };
    }
    return summary;
  });
}

/** Median over the rounds of one server's figure over another's; NaN where no round has both. */
function pairedRatio(runs: MixedRun[], key: keyof MixedFigures, server: string, other: string): number {
  const value = (name: string, round: number) =>
    runs.find((run) => run.server === name && run.round === round)?.figures?.[key] ?? Number.NaN;
  const rounds = [...new Set(runs.map(({ round }) => round))];
  const ratios = rounds.map((round) => value(server, round) / value(other, round)).filter((r) => !Number.isNaN(r));
  return ratios.length > 0 ? median(ratios) : Number.NaN;
}
