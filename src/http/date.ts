/** The Date header's value, made anew at most every 200 ms: a timer would keep an idle thread awake. */
let text = '';
let at = Number.NEGATIVE_INFINITY;

/** RFC 9110 5.6.7 IMF-fixdate of now. `clock`: any ms clock that only grows; without it the wall clock is read. */
export function httpDate(clock: number = Date.now()): string {
  const age = clock - at;
  if (age >= 0 && age < 200) return text;
  at = clock;
  text = new Date().toUTCString();
  return text;
}
