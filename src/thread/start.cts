/**
 * What hosts load into a thread: it loads entry.ts. In CommonJS, because piscina would load an ES module by require(), and a thread that is
 * ended in the middle of that takes the whole process with it (Node 20: "IsGraphAsync must be used on an instantiated module").
 */
module.exports = async (task: unknown): Promise<void> => {
  const { default: life } = await import('./entry.js');
  await life(task as Parameters<typeof life>[0]);
};
