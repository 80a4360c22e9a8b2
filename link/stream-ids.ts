/** The last id before they start again from the beginning; ids are uint32 on the wire. */
export const LAST_STREAM_ID = 0xffff_fff0;
/** How far from the ends of that range the other end's ids count as having started again. */
const WRAP_MARGIN = 0x1000_0000;

/**
 * Who may use which stream id: the server even ones, the client odd ones, each in rising order, and from the
 * beginning again once all have been used (at 10,000 streams a second, after two days).
 */
export class StreamIds {
  readonly #first: number;
  #next: number;
  #wrapped = false;
  #lastOfPeer: number;
  #peerWrapped = false;

  /** `used`: ids up to this one have been used by both ends. */
  constructor(side: "server" | "client", used = 0) {
    this.#first = side === "server" ? 2 : 1;
    this.#next = used === 0 ? this.#first : used + (this.isOwn(used) ? 2 : 1);
    this.#lastOfPeer = used;
  }

  isOwn(id: number): boolean {
    return id % 2 === this.#first % 2;
  }

  /** The next id of this end that is not `taken` by a stream from before the ids started again. */
  take(taken: (id: number) => boolean): number {
    let id: number;
    do {
      id = this.#next;
      this.#next = id + 2;
      if (this.#next > LAST_STREAM_ID) {
        this.#next = this.#first;
        this.#wrapped = true;
      }
    } while (taken(id));
    return id;
  }

  /** Notes an id that the other end opens a stream with; `false`: not its own, or used before. */
  takePeer(id: number): boolean {
    if (id === 0 || this.isOwn(id)) return false;
    if (id <= this.#lastOfPeer) {
      if (this.#lastOfPeer <= LAST_STREAM_ID - WRAP_MARGIN || id >= WRAP_MARGIN) return false;
      this.#peerWrapped = true;
    }
    this.#lastOfPeer = id;
    return true;
  }

  /** Whether a stream with this id was ever opened. Once ids have started again, any may have been. */
  wasOpened(id: number): boolean {
    if (id === 0) return false;
    return this.isOwn(id) ? this.#wrapped || id < this.#next : this.#peerWrapped || id <= this.#lastOfPeer;
  }
}
