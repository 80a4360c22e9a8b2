/**
 * Node cuts small buffers from blocks, and a block stays in memory as long as one of its pieces does. Node 24 made the blocks eight
 * times as large, 64 KiB, and takes up to 32 KiB for small: a few bytes that wait to be read would keep far more than is counted for them.
 * With the blocks of Node 20 a piece keeps 8 KiB at most, and one of 4 KiB or more only itself. To have each piece on its own would
 * cost a small one some microseconds (measured up to 2 KiB; from 4 KiB on there is no difference).
 */
export function keepBufferBlocksSmall(): void {
  Buffer.poolSize = 8 * 1024;
}
