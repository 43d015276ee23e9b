/**
 * Certificates and keys: read by the arbiter, which may still have the rights to, and checked before anything depends on
 * them, so that a broken one ends the start, and changes nothing at HUP. Workers get them with their settings.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { Config } from '../config/settings.js';
import { TunicornError } from '../errors.js';
import type { TlsMaterial } from '../messages.js';

/**
 * @returns null where there is no --certfile.
 * @throws {TunicornError} ERR_TUNICORN_TLS: a file that cannot be read, is no PEM, or whose key is not the certificate's; ciphers
 *   that OpenSSL does not know.
 */
export function readTls({ chdir, certfile, keyfile, caCerts, ciphers }: Config): TlsMaterial | null {
  if (certfile === null) {
    if (keyfile === null) return null;
    throw tlsError('--keyfile is given without --certfile');
  }
  const cert = read('--certfile', resolve(chdir, certfile));
  const key = keyfile === null ? cert : read('--keyfile', resolve(chdir, keyfile));
  const ca = caCerts === null ? null : read('--ca-certs', resolve(chdir, caCerts));
  try {
    createSecureContext({ cert, key, ...(ca === null ? {} : { ca }), ...(ciphers === null ? {} : { ciphers }) });
  } catch (cause) {
    const files = [certfile, keyfile, caCerts].filter((name) => name !== null).join(', ');
    throw tlsError(`TLS cannot be set up with ${files}: ${(cause as Error).message}`, cause);
  }
  return { cert, key, ca, ticketKeys: randomBytes(48).toString('base64') };
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
