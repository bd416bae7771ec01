/** Connections that are slow to open: one that nobody uses is kept for the next who needs one. */
export interface Connection {
  /** Whether it may be used again. */
  readonly isOpen: boolean;
  /** Lets the program end while nothing is asked. */
  rest(): void;
  hold(): void;
  destroy(): void;
}

export class Keeper<C extends Connection> {
  readonly #connect: () => Promise<C>;
  #idle: C | undefined;

  constructor(connect: () => Promise<C>) {
    this.#connect = connect;
  }

  /** Does something over a connection of its own; with an error that is lost. */
  async use<T>(work: (connection: C) => Promise<T>): Promise<T> {
    const connection = await this.take();
    try {
      const result = await work(connection);
      this.giveBack(connection);
      return result;
    } catch (error) {
      connection.destroy();
      throw error;
    }
  }

  /** A connection for who destroys it or gives it back. */
  async take(): Promise<C> {
    const idle = this.#idle;
    this.#idle = undefined;
    if (!idle?.isOpen) return this.#connect();
    idle.hold();
    return idle;
  }

  /** Takes back a connection on which all that was asked is answered and read. */
  giveBack(connection: C): void {
    if (this.#idle?.isOpen) connection.destroy();
    else {
      connection.rest();
      this.#idle = connection;
    }
  }
}
