/** Every handler of bodies.mjs, with bodies in several forms. */
import { type Case, handlerNames, request, type Step } from './corpus.js';

const LARGE = 'x'.repeat(200_000);
/** With its head one segment on the loopback interface (65,483 bytes): of more, what each read brings is a matter of time. */
const ONE_SEGMENT = 'x'.repeat(60_000);
const CHUNKED = 'Transfer-Encoding: chunked\r\n';

const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;

const FORMS: Record<string, (handler: string) => Step[]> = {
  'no body': (h) => [request('GET', h)],
  'no body, res watched': (h) => [request('GET', h, 'X-Watch: res\r\n')],
  'Content-Length': (h) => [request('POST', h, 'Content-Length: 5\r\n', 'hello')],
  'Content-Length, nobody listens': (h) => [request('POST', h, 'X-Watch: none\r\nContent-Length: 5\r\n', 'hello')],
  'Content-Length, body later': (h) => [request('POST', h, 'Content-Length: 5\r\n'), { note: 'handler' }, 'hello'],
  chunked: (h) => [request('POST', h, CHUNKED, `${chunk('hel')}${chunk('lo')}0\r\nX-T: 1\r\n\r\n`)],
  'chunked, body later': (h) => [
    request('POST', h, CHUNKED, chunk('hel')),
    { note: 'handler' },
    `${chunk('lo')}0\r\nX-T: 1\r\n\r\n`,
  ],
  large: (h) => {
    // Who pipes answers in the pieces that he reads.
    const body = h.startsWith('body-pipe') ? ONE_SEGMENT : LARGE;
    return [request('POST', h, `Content-Length: ${body.length}\r\nX-Watch: res\r\n`, body)];
  },
  'HTTP/1.0': (h) => [request('POST', h, 'Content-Length: 5\r\n', 'hello', '1.0')],
  'Expect: 100-continue': (h) => [
    request('POST', h, 'Expect: 100-continue\r\nContent-Length: 5\r\n'),
    { note: 'handler' },
    'hello',
  ],
};

export const bodyCases: Case[] = (await handlerNames('bodies')).flatMap((handler) =>
  Object.entries(FORMS).map(([form, steps]) => ({ name: `${handler}: ${form}`, steps: steps(handler) })),
);
