/**
 * A head that cannot be made (a bad status, a bad reason) leaves behind what its body would have been long. Node forgives that, for it does
 * not look; ours are looked at (strictContentLength), and the error page that follows has another length.
 */
import { responseSymbol, ServerResponse } from '../node-http.js';

interface Parts {
  _implicitHeader(): void;
  _header: string | null;
  _contentLength: number | null;
}

const prototype = ServerResponse.prototype as unknown as Parts;
const kBytesWritten = responseSymbol('kBytesWritten');
const { _implicitHeader } = prototype;

prototype._implicitHeader = function (): void {
  try {
    _implicitHeader.call(this);
  } catch (error) {
    if (this._header === null) {
      this._contentLength = null;
      if (kBytesWritten !== undefined) (this as unknown as Record<symbol, number>)[kBytesWritten] = 0;
    }
    throw error;
  }
};
