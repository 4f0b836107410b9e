/** The stream on whatever DATABASE_URL names; without it, in an SQLite file. */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Layer from "effect/Layer"
import type { EventStream, Generator, Poller, Sequencer } from "../../src/index.js"
import * as Mysql from "../../src/mysql.js"
import * as Pg from "../../src/pg.js"
import * as Sqlite from "../../src/sqlite.js"

export type Services = Generator.Generator | Poller.Poller | Sequencer.Sequencer | SqlClient.SqlClient

export const database = (url: string, options: EventStream.Options): Layer.Layer<Services, unknown> =>
  /^postgres(ql)?:/.test(url)
    ? Layer.provideMerge(Pg.layer(options), Pg.client(url))
    : /^(mysql|mariadb):/.test(url)
    ? Layer.provideMerge(Mysql.layer(options), Mysql.client(url.replace(/^mariadb:/, "mysql:")))
    : Layer.provideMerge(Sqlite.layer(options), Sqlite.client(url))
