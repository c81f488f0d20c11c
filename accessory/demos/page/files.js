// Files in and out: reading, saving, and a text inside a PNG, by which a marked picture remembers its conversation.
"use strict";

(function (demo) {
  const KEYWORD = "sphinx-v";
  const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

  function dataUri(blob) {
    return new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(new Error("The file cannot be read; choose it again."));
      reader.readAsDataURL(blob);
    });
  }

  /** The bytes of a data URI, without asking anybody for an address. */
  function blobOf(uri) {
    const [head, body] = uri.split(",", 2);
    const type = /^data:([\w/+.-]+);base64$/.exec(head)?.[1];
    if (!type || body === undefined) throw new Error("The picture in the file is no data URI; the file is damaged.");
    return new Blob([Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0))], { type });
  }

  function save(blob, name) {
    const link = demo.make("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  const TABLE = Array.from({ length: 256 }, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n >>> 0;
  });

  function crc(bytes) {
    let sum = 0xffffffff;
    for (const byte of bytes) sum = TABLE[(sum ^ byte) & 255] ^ (sum >>> 8);
    return (sum ^ 0xffffffff) >>> 0;
  }

  /** [{type, data, start, end}, …] of a PNG, or null for what is none. */
  function chunks(bytes) {
    if (!SIGNATURE.every((value, i) => bytes[i] === value)) return null;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const found = [];
    for (let start = 8; start + 12 <= bytes.length;) {
      const end = start + 12 + view.getUint32(start);
      if (end > bytes.length) break;
      const type = String.fromCharCode(...bytes.subarray(start + 4, start + 8));
      found.push({ type, data: bytes.subarray(start + 8, end - 4), start, end });
      start = end;
    }
    return found;
  }

  /** The PNG with `text` in it, in an iTXt chunk that other programs pass over. */
  async function withText(png, text) {
    const bytes = new Uint8Array(await png.arrayBuffer());
    const last = chunks(bytes).find((chunk) => chunk.type === "IEND");
    // Keyword, end, not compressed (two bytes), no language, no translated keyword, text.
    const content = new TextEncoder().encode(`iTXt${KEYWORD}\0\0\0\0\0${text}`);
    const frame = new DataView(new ArrayBuffer(4));
    const number = (value) => { frame.setUint32(0, value); return new Uint8Array(frame.buffer.slice(0)); };
    const chunk = [number(content.length - 4), content, number(crc(content))];
    return new Blob([bytes.subarray(0, last.start), ...chunk, bytes.subarray(last.start)], { type: "image/png" });
  }

  /** The text that `withText` put into a PNG; null where there is none. */
  function textOf(bytes) {
    const head = new TextEncoder().encode(`${KEYWORD}\0\0\0\0\0`);
    const found = chunks(bytes)?.find(({ type, data }) => type === "iTXt" && head.every((value, i) => data[i] === value));
    return found ? new TextDecoder().decode(found.data.subarray(head.length)) : null;
  }

  /** The items in a saved conversation, a JSON file or a marked PNG. */
  async function readItems(file) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const isPng = chunks(bytes) !== null;
    const text = isPng ? textOf(bytes) : new TextDecoder().decode(bytes);
    if (text === null) throw new Error("This PNG holds no conversation; take one that was saved here.");
    try {
      return JSON.parse(text);
    } catch {
      throw new Error("This file is no JSON; take a conversation that was saved here.");
    }
  }

  Object.assign(demo, { blobOf, dataUri, readItems, save, withText });
})((globalThis.SphinxDemo ??= {}));
