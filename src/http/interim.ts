/**
 * Interim responses as Node's ServerResponse writes them, corrected in two ways. Frameworks give responses other prototypes, which all
 * lead to ServerResponse's, so the corrections stand there.
 *
 * No 1xx is sent to a client of HTTP/1.0, which does not know them (RFC 9110, 15.2: MUST NOT). And Node's writeEarlyHints() sends hints
 * other than `link` as they are, up to 20.x, and `link` with whatever stands between its angle brackets: CR LF in one of
 * them would be a response of somebody else's.
 */
import { ServerResponse, validateHeaderName, validateHeaderValue } from '../node-http.js';

const { prototype } = ServerResponse;

interface Raw {
  _writeRaw?(data: string, encoding: string, callback?: () => void): boolean;
}

type Interim = (this: ServerResponse, ...args: never[]) => unknown;

/** In Node's own function everything but the sending. */
function notToOldClients<F extends Interim>(write: F): F {
  return function interim(this: ServerResponse, ...args: never[]): unknown {
    if (this.req?.httpVersionMajor !== 1 || this.req.httpVersionMinor !== 0) return write.apply(this, args);
    const raw = this as Raw;
    raw._writeRaw = (_data, _encoding, callback) => {
      if (typeof callback === 'function') process.nextTick(callback);
      return true;
    };
    try {
      return write.apply(this, args);
    } finally {
      delete raw._writeRaw;
    }
  } as F;
}

prototype.writeContinue = notToOldClients(prototype.writeContinue);
prototype.writeProcessing = notToOldClients(prototype.writeProcessing);

/** Of Node 24: any 1xx. */
const later = prototype as { writeInformation?: Interim };
if (later.writeInformation !== undefined) later.writeInformation = notToOldClients(later.writeInformation);

const writeEarlyHints = notToOldClients(prototype.writeEarlyHints);

/** Throws ERR_INVALID_HTTP_TOKEN or ERR_INVALID_CHAR, as setHeader() does, before a byte is sent. */
prototype.writeEarlyHints = function (this: ServerResponse, hints, callback): void {
  if (typeof hints === 'object' && hints !== null) {
    for (const [name, value] of Object.entries(hints)) {
      validateHeaderName(name);
      // As they are joined when they are sent. Without a link nothing is.
      if (name !== 'link' || (value !== undefined && value !== null)) validateHeaderValue(name, String(value));
    }
  }
  writeEarlyHints.call(this, hints, callback);
};
