/**
 * Certificates and keys: read by the arbiter, which may still have the rights to, and checked before anything depends on
 * them, so that a broken one ends the start, and changes nothing at HUP. Workers get them with their settings.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import { hooksOf } from '../config/hooks.js';
import type { Config } from '../config/settings.js';
import { TunicornError } from '../errors.js';
import { isThenable } from '../hooks/call.js';
import type { TlsMaterial, TlsOptions } from '../messages.js';

/**
 * @returns null where there is no --certfile.
 * @throws {TunicornError} ERR_TUNICORN_TLS: a file that cannot be read, is no PEM, or whose key is not the certificate's; ciphers
 *   that OpenSSL does not know; an ssl_context that throws, or returns what tls.createSecureContext() does not take.
 */
export function readTls(config: Config): TlsMaterial | null {
  const { certfile, keyfile, caCerts, certReqs } = config;
  if (certfile === null) {
    if (keyfile !== null) throw tlsError('--keyfile is given without --certfile');
    // Whoever asks for it believes that nobody gets in without a certificate.
    if (certReqs > 0) throw tlsError('--cert-reqs is given without --certfile');
    return null;
  }
  const { sslContext } = hooksOf(config);
  const options = sslContext === undefined ? optionsOf(config, certfile) : made(sslContext, config, certfile);
  try {
    createSecureContext(options);
  } catch (cause) {
    const files = [certfile, keyfile, caCerts].filter((name) => name !== null).join(', ');
    throw tlsError(`TLS cannot be set up with ${files}: ${(cause as Error).message}`, cause);
  }
  return { options, ticketKeys: randomBytes(48).toString('base64') };
}

function optionsOf({ chdir, keyfile, caCerts, ciphers }: Config, certfile: string): TlsOptions {
  const cert = read('--certfile', resolve(chdir, certfile));
  const key = keyfile === null ? cert : read('--keyfile', resolve(chdir, keyfile));
  return {
    cert,
    key,
    ...(caCerts === null ? {} : { ca: read('--ca-certs', resolve(chdir, caCerts)) }),
    ...(ciphers === null ? {} : { ciphers }),
  };
}

/** What ssl_context returns, as plain data: it goes to another process. */
function made(sslContext: (...args: unknown[]) => unknown, config: Config, certfile: string): TlsOptions {
  let returned: unknown;
  try {
    returned = sslContext(config, () => optionsOf(config, certfile));
  } catch (cause) {
    if (cause instanceof TunicornError) throw cause;
    throw tlsError(`ssl_context failed: ${(cause as Error)?.message ?? cause}`, cause);
  }
  if (typeof returned !== 'object' || returned === null)
    throw tlsError('ssl_context has to return an object of options');
  if (isThenable(returned)) throw tlsError('ssl_context returned a promise, which is not waited for');
  const options: TlsOptions = {};
  for (const [name, value] of Object.entries(returned)) {
    if (value === undefined) continue;
    const plain = Array.isArray(value) ? value.map(text) : text(value);
    if (!['string', 'number', 'boolean'].includes(typeof plain) && !Array.isArray(plain)) {
      throw tlsError(`ssl_context: ${name} is neither text nor a number, true or false`);
    }
    options[name] = plain as string;
  }
  if (options.cert === undefined && options.pfx === undefined) {
    throw tlsError('ssl_context returned options without a certificate (cert or pfx): begin with ...usual()');
  }
  return options;
}

/** PEM files may come as bytes. */
function text(value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value;
}

function read(flag: string, file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch (cause) {
    throw tlsError(`${flag}: cannot read ${file}: ${(cause as NodeJS.ErrnoException).code}`, cause);
  }
}

function tlsError(message: string, cause?: unknown): TunicornError {
  return new TunicornError('ERR_TUNICORN_TLS', message, { exitCode: 1, cause });
}
