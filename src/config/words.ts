/** Splits a string into words as a POSIX shell does, without expanding anything: for TUNICORN_CMD_ARGS. */
import { InvalidValue } from './validate.js';

/** The characters that a backslash escapes inside double quotes. */
const ESCAPABLE = '"\\$`\n';

/**
 * Words are separated by blanks. 'single quotes' keep everything, "double quotes" everything but \" \\ \$ \`; a backslash
 * outside quotes keeps the next character.
 * @throws {InvalidValue} if a quote is not closed or nothing follows a backslash.
 */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let quote = '';
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    const next = text[i + 1];
    if (quote === "'" || (quote === '"' && char !== '\\')) {
      if (char === quote) quote = '';
      else word += char;
    } else if (char === '\\') {
      if (next === undefined) throw new InvalidValue('nothing follows the last backslash');
      word = (word ?? '') + (quote === '' || ESCAPABLE.includes(next) ? next : `\\${next}`);
      i++;
    } else if (char === "'" || char === '"') {
      quote = char;
      word ??= '';
    } else if (/\s/.test(char)) {
      if (word !== null) words.push(word);
      word = null;
    } else {
      word = (word ?? '') + char;
    }
  }
  if (quote !== '') throw new InvalidValue(`a ${quote} is not closed`);
  if (word !== null) words.push(word);
  return words;
}
