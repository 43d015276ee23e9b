/** An entry that does not load. */
throw new Error('broken on purpose');
