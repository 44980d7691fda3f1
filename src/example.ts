/** In the checkout, beside `src` and beside `dist`: for a first try without a cluster. */
export const EXAMPLE_STATE = new URL('../examples/state', import.meta.url).pathname;
