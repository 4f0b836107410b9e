/** How much of a fault test is run: a bounded round in `npm test`, all of it in `npm run test:faults`. */
export const full = process.env.EVT_FAULTS === "full"
export const rounds = (bounded: number, all: number): number => full ? all : bounded
