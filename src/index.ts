/**
 * Events that commit with your data.
 *
 * @since 0.1.0
 */
export * as Consumer from "./Consumer.js"
export * as Event from "./Event.js"
export * as EventId from "./EventId.js"
export * as EventStreamError from "./EventStreamError.js"
export * as EventType from "./EventType.js"
export * as EventStream from "./layers/EventStream.js"
export * as Access from "./services/Access.js"
export * as Archiver from "./services/Archiver.js"
export * as Consumers from "./services/Consumers.js"
export * as Discarder from "./services/Discarder.js"
export * as Generator from "./services/Generator.js"
export * as Health from "./services/Health.js"
export * as History from "./services/History.js"
export * as HistoryStore from "./services/HistoryStore.js"
export * as Poller from "./services/Poller.js"
export * as Pusher from "./services/Pusher.js"
export * as Sequencer from "./services/Sequencer.js"
export * as Delivery from "./streams/Delivery.js"
