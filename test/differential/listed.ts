/**
 * Which cases show which entry of docs/node-differences.md. A case that differs and is not here fails the test, and so does one that
 * is here and does not differ.
 */
import type { Case } from './corpus.js';

const LISTED: Record<string, RegExp[]> = {
  'complete-earlier': [
    /^complete: a whole body$/,
    /^body-(unread|unread-close|resume|answer-first): (Content-Length|chunked|HTTP\/1\.0)$/,
    /^body-async-break: (Content-Length|chunked|HTTP\/1\.0|Content-Length, body later|Expect: 100-continue)$/,
    /^(end-callback|end-encoding-callback|end-only-callback|end-chunk-twice|write-after-end|write-end|callbacks-among-ticks|ticks-around-the-end): POST with a body$/,
    /^pipelined: unread POST and GET$/,
  ],
  'async-context': [/^context: POST$/, /^context, (close-request|destroy): /],
  'socket-end': [/^socket-events/, /^socket-end/],
  'socket-had-error': [
    /^the client leaves by RESET: wait$/,
    /^the client leaves by (RESET|DESTROY): wait in a body, unread$/,
    /^timeout-nobody: POST, half a body$/,
  ],
  'client-close-wins': [/^connection-(keep|other): GET, Connection: close$/],
  'finish-sooner': [/^(write-end|ticks-around-the-end): GET, no listener at all$/],
  'end-after-destroy': [/^destroy-req-(after|finish|close)$/],
  'no-needless-continue': [
    /^Expect: 100-continue without a body$/,
    /^Expect: 100-.ontinue, (the body at once|in another case)$/,
  ],
  'no-old-interim': [/^(write-continue|write-processing|write-information|early-hints(-many)?): GET, HTTP\/1\.0/],
  'half-closed': [/^half-closed (in mid-(head|body)|after the request)$/],
  'strict-content-length': [/^length-too-/],
  'pipelined-in-order': [/^pipelined: (three, watched|POST and GET|the first closes)$/],
  refusals: [
    /^pipelined: the second is bad$/,
    /^rubbish$/,
    /^a bad body(, later)?$/,
    /^no Host$/,
    /^Expect: something$/,
    /^CONNECT$/,
    /^HTTP\/2 preface$/,
    /^head: latin1 in a target$/,
  ],
  underscores: [/^head: (odd names|names of objects)$/],
  'lazy-body': [/^a bad body, unread$/, /^body-unread-late: (.*body later|Expect: 100-continue)$/],
};

/** What shows in some versions of Node only: from which on, and before which. */
const SOME: Array<[from: number, before: number, Record<string, RegExp[]>]> = [
  [
    22,
    Number.POSITIVE_INFINITY,
    {
      'corked-end': [
        /^cork-(late-)?end: (GET(, nobody listens|, no listener at all|, Connection: close)?|POST with a body)$/,
      ],
    },
  ],
  [
    22,
    24,
    {
      'corked-drain': [
        /^cork-drain: (GET(, nobody listens|, no listener at all|, Connection: close)?|POST with a body)$/,
      ],
    },
  ],
  [
    24,
    Number.POSITIVE_INFINITY,
    {
      'async-context': [/^context, entered: POST \d$/],
      'complete-earlier': [/^end-twice-callback: POST with a body$/],
      'end-callback-error': [
        /^the client leaves by (RESET|DESTROY): while end\(\) waits$/,
        /^the client leaves in a body with a length$/,
      ],
    },
  ],
];
const major = Number.parseInt(process.versions.node, 10);

const ALL = [
  ...Object.entries(LISTED),
  ...SOME.filter(([from, before]) => major >= from && major < before).flatMap(([, , more]) => Object.entries(more)),
];

/** Entries of the document that no case shows in this version of Node. */
export const NOT_HERE = SOME.flatMap(([, , more]) => Object.keys(more)).filter(
  (name) => !ALL.some(([shown]) => shown === name),
);

/** The cases, each with the entry that it shows. */
export function withDifferences(cases: readonly Case[]): Case[] {
  return cases.map((the) => {
    const found = ALL.find(([, names]) => names.some((name) => name.test(the.name)));
    return found === undefined ? the : { ...the, differs: found[0] };
  });
}
