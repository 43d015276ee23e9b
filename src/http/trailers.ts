/** The trailer fields of a message, as they come: in any pieces, within the limits of header fields (RFC 9112, 7.1.2). */

export class Trailers {
  /** Those that are complete: name, value, ... */
  list: string[] = [];
  /** Bytes that came, 0: none. */
  bytes = 0;
  /** The same with all that stands between names and values. */
  section = 0;
  private name = '';
  private value = '';

  /** A piece of a name. The field before it is complete. */
  addName(text: string): void {
    if (this.value !== '') this.finish();
    this.name += text;
    this.bytes += text.length + 1;
  }

  /** A piece of a value. An empty one is marked as seen; finish() trims it away. */
  addValue(text: string): void {
    this.value += text || ' ';
    this.bytes += text.length + 1;
  }

  /** What is wrong with them, '' = nothing. fieldSize: bytes of a field, 0 = any; fields: number of them. */
  wrong(fieldSize: number, fields: number): string {
    if (fieldSize > 0 && this.name.length + this.value.length > fieldSize) return 'Trailer field too long';
    return this.list.length / 2 >= fields ? 'Too many trailer fields' : '';
  }

  /** The last one is complete. */
  finish(): void {
    if (this.name !== '') this.list.push(this.name, this.value.replace(/^[ \t]+|[ \t]+$/g, ''));
    this.name = this.value = '';
  }

  /** For the next message. Who has the list keeps it. */
  reset(): void {
    if (this.bytes === 0) return;
    this.list = [];
    this.name = this.value = '';
    this.bytes = this.section = 0;
  }
}
