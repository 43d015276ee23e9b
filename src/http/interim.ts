/**
 * Interim responses as Node's ServerResponse writes them, corrected in two ways. Frameworks give responses other prototypes, which all
 * lead to ServerResponse's, so the corrections stand there.
 *
 * No 1xx is sent to a client of HTTP/1.0, which does not know them (RFC 9110, 15.2: MUST NOT). And Node's writeEarlyHints() sends hints
 * other than `link` as they are, up to 20.x, and `link` with whatever stands between its angle brackets: CR LF in one of
 * them would be a response of somebody else's.
 */
import { ServerResponse, validateHeaderName, validateHeaderValue } from 'node:http';

const { prototype } = ServerResponse;
const nodes = {
  writeContinue: prototype.writeContinue,
  writeProcessing: prototype.writeProcessing,
  writeEarlyHints: prototype.writeEarlyHints,
};

/** True where an interim response is not for the client. */
function unknownTo({ req }: ServerResponse, callback: (() => void) | undefined): boolean {
  if (req?.httpVersionMajor !== 1 || req.httpVersionMinor !== 0) return false;
  if (typeof callback === 'function') process.nextTick(callback);
  return true;
}

prototype.writeContinue = function writeContinue(this: ServerResponse, callback): void {
  if (!unknownTo(this, callback)) nodes.writeContinue.call(this, callback);
};

prototype.writeProcessing = function writeProcessing(this: ServerResponse, callback): void {
  if (!unknownTo(this, callback)) nodes.writeProcessing.call(this, callback);
};

/** Throws ERR_INVALID_HTTP_TOKEN or ERR_INVALID_CHAR, as setHeader() does, before a byte is sent. */
prototype.writeEarlyHints = function writeEarlyHints(this: ServerResponse, hints, callback): void {
  if (typeof hints === 'object' && hints !== null) {
    for (const [name, value] of Object.entries(hints)) {
      validateHeaderName(name);
      // As they are joined when they are sent. Without a link nothing is.
      if (name !== 'link' || (value !== undefined && value !== null)) validateHeaderValue(name, String(value));
    }
  }
  if (!unknownTo(this, callback)) nodes.writeEarlyHints.call(this, hints, callback);
};
