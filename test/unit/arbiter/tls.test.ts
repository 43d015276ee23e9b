/** What ssl_context may return, and what needs a certificate. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readTls } from '../../../src/arbiter/tls.js';
import { createConfig } from '../../../src/config/config.js';
import { type Hook, keepHooks } from '../../../src/config/hooks.js';
import { TunicornError } from '../../../src/errors.js';

const certs = fileURLToPath(new URL('../../../../test/certs/', import.meta.url));

function made(sslContext: Hook) {
  const config = createConfig({ app: 'a', certfile: `${certs}server.pem`, keyfile: `${certs}server.key` }, {});
  keepHooks(config, { sslContext }, 'conf.mjs', {});
  return readTls(config);
}

describe('ssl_context', () => {
  it('changes what is usual; PEM may be bytes', () => {
    const cert = readFileSync(`${certs}server.pem`);
    const tls = made((_config, usual: () => object) => ({ ...usual(), cert, minVersion: 'TLSv1.3', ca: undefined }));
    assert.deepEqual([tls?.options.minVersion, tls?.options.cert], ['TLSv1.3', cert.toString()]);
  });

  for (const [what, hook, message] of [
    ['nothing', () => {}, /has to return an object of options/],
    ['a promise', async () => ({}), /returned a promise, which is not waited for/],
    ['no certificate', () => ({ minVersion: 'TLSv1.3' }), /without a certificate .*\.\.\.usual\(\)/],
    [
      'a function',
      (_config: unknown, usual: () => object) => ({ ...usual(), SNICallback: () => {} }),
      /SNICallback is neither/,
    ],
  ] as [string, Hook, RegExp][]) {
    it(`may not return ${what}`, () => {
      assert.throws(
        () => made(hook),
        (err) => err instanceof TunicornError && err.code === 'ERR_TUNICORN_TLS' && message.test(err.message),
      );
    });
  }
});

describe('without certfile', () => {
  it('there is no TLS, and what relies on it is refused', () => {
    const read = (settings: object) => readTls(createConfig({ app: 'a', ...settings }, {}));
    assert.equal(read({ ciphers: 'DEFAULT', httpProtocols: 'h2,h1' }), null);
    for (const [flag, settings] of [
      ['--keyfile', { keyfile: `${certs}server.key` }],
      ['--cert-reqs', { certReqs: 2 }],
    ] as const) {
      assert.throws(() => read(settings), { code: 'ERR_TUNICORN_TLS', message: `${flag} is given without --certfile` });
    }
  });
});
