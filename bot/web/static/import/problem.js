// Something that a person is to be told; `reason` names one of the page's sentences, `values` fill it in.
export class Problem extends Error {
  constructor(reason, values = {}) {
    super(reason);
    this.reason = reason;
    this.values = values;
  }
}
