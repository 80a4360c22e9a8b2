export interface Address {
  host: string;
  port: number;
}

/** What lies between the two ends of a tunnel: the server's, where visitors are too, and the client's with its service. */
export interface Road extends AsyncDisposable {
  /** What stands before a command that is to run at this end. */
  atServer: readonly string[];
  atClient: readonly string[];
  /** Where a program at the server's end listens for what comes along the road. */
  serverHost: string;
  /** The same at the client's end. */
  clientHost: string;
  /** What to dial at the client's end to get to a port of the server's, and the other way round. */
  toServer(port: number): Promise<Address>;
  toClient(port: number): Promise<Address>;
}

/** Both ends on this machine, with nothing between them. */
export const NO_DISTANCE: Road = {
  atServer: [],
  atClient: [],
  serverHost: "127.0.0.1",
  clientHost: "127.0.0.1",
  toServer: async (port) => ({ host: "127.0.0.1", port }),
  toClient: async (port) => ({ host: "127.0.0.1", port }),
  async [Symbol.asyncDispose]() {},
};
