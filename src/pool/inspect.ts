export async function stackOf(_id: number, _ms: number): Promise<string | null> {
  return null;
}
