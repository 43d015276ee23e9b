/** Several hundred requests and handlers against node:http and tunicorn: what differs is listed in docs/node-differences.md. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { bodyCases } from '../differential/cases-bodies.js';
import { lifeCases } from '../differential/cases-lives.js';
import { requestCases } from '../differential/cases-requests.js';
import { responseCases } from '../differential/cases-responses.js';
import { type Case, Corpus, explain } from '../differential/corpus.js';
import { NOT_HERE, withDifferences } from '../differential/listed.js';

const DOCUMENT = new URL('../../../docs/node-differences.md', import.meta.url);
const listed = [...readFileSync(DOCUMENT, 'utf8').matchAll(/^- \*\*([a-z-]+)\*\*/gm)].map((match) => match[1]);
/** To look at some cases: a part of their names. */
const only = process.env.DIFFERENTIAL_ONLY ?? '';

const GROUPS: Record<string, Case[]> = {
  requests: withDifferences(requestCases),
  responses: withDifferences(responseCases),
  bodies: withDifferences(bodyCases),
  lives: withDifferences(lifeCases),
};

describe('differential corpus', () => {
  let corpus: Corpus;
  before(async () => {
    corpus = await Corpus.start();
  });
  after(() => corpus?.stop());

  for (const [group, all] of Object.entries(GROUPS)) {
    const cases = all.filter(({ name }) => name.includes(only));
    if (cases.length === 0) continue;
    it(`${group}: ${cases.length} cases`, async () => {
      const outcomes = await corpus.run(cases);
      const unlisted = outcomes.filter((outcome) => !outcome.same && outcome.case.differs === undefined);
      const needless = outcomes.filter((outcome) => outcome.same && outcome.case.differs !== undefined);
      const problems = [
        ...unlisted.map(explain),
        ...needless.map(
          (outcome) => `=== ${outcome.case.name} is listed (${outcome.case.differs}) and does not differ`,
        ),
      ];
      assert.equal(problems.length, 0, `${problems.length} of ${cases.length} cases\n${problems.join('\n')}`);
    });
  }

  it('names differences that are listed, each of which some case shows', () => {
    const named = new Set(Object.values(GROUPS).flatMap((cases) => cases.flatMap((the) => the.differs ?? [])));
    assert.deepEqual([...named, ...NOT_HERE].sort(), listed.toSorted());
    assert.ok(Object.values(GROUPS).flat().length >= 300);
  });
});
