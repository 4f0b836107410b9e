/** Says what it was given, then stays until it is killed. */
console.log(JSON.stringify({ args: process.argv.slice(2), env: process.env.EVT_CHILD }))
console.log(JSON.stringify({ waiting: true }))
setInterval(() => {}, 1000)
