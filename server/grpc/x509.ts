/** @peculiar/x509, loaded only when a certificate is to be made: that takes over 100 ms. */
export async function loadX509() {
  // Its dependency tsyringe wants this polyfill, and leaves it to the program to bring it.
  await import("reflect-metadata");
  return await import("@peculiar/x509");
}
