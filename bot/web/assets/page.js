// The page's script: it puts the fragments that the bot sends where they
// belong, and sends what people do. All HTML in here was made by the bot's
// templates; text never becomes HTML on this side.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const scroll = $("scroll"), messages = $("messages"), line = $("line"), thread = $("thread");
  const choices = $("choices"), choicesBox = $("choices-box"), side = $("side");
  const fragment = (html) => {
    const t = document.createElement("template");
    t.innerHTML = html;
    return t.content.firstElementChild;
  };

  // --- time: the bot's clock, as good as the last beat tells it ---
  let offset = Number(document.body.dataset.now) - Date.now();
  const dur = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000)), two = (n) => String(n).padStart(2, "0");
    if (s < 60) return s + "s";
    if (s < 3600) return Math.floor(s / 60) + "m " + two(s % 60) + "s";
    return Math.floor(s / 3600) + "h " + two(Math.floor(s / 60) % 60) + "m";
  };
  const tick = (root) => {
    const now = Date.now() + offset;
    for (const el of root.querySelectorAll("[data-since]")) {
      const text = dur(now - Number(el.dataset.since));
      if (el.textContent !== text) el.textContent = text;
    }
  };
  const localize = (root) => {
    for (const el of root.querySelectorAll("time[datetime]")) {
      const at = new Date(el.dateTime);
      el.textContent = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      el.title = at.toLocaleString();
    }
    tick(root);
  };
  setInterval(() => tick(document), 500);

  // --- messages ---
  const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  const toEnd = () => { scroll.scrollTop = scroll.scrollHeight; };
  let ended = true; // the newest message was in sight
  new ResizeObserver(() => { if (ended) toEnd(); }).observe(scroll);
  const opened = new Map(); // message/phase -> what the reader chose to see of it
  const announce = (text) => { $("announce").textContent = text; };

  messages.addEventListener("click", (ev) => {
    const summary = ev.target.closest("summary");
    if (!summary) return;
    const d = summary.parentElement; // its state changes after this event
    opened.set(d.closest(".message").id + "/" + d.dataset.phase, !d.open);
  });

  const adopt = (el) => {
    localize(el);
    for (const d of el.querySelectorAll("details[data-phase]")) {
      const chosen = opened.get(el.id + "/" + d.dataset.phase);
      if (chosen !== undefined) d.open = chosen;
    }
  };

  // handle names what has the focus inside a message, in words that find the
  // same thing in its next rendering.
  const handle = (el) => {
    if (!el) return null;
    for (const name of ["button", "thread", "copy"]) {
      if (el.dataset[name] !== undefined) return `[data-${name}="${CSS.escape(el.dataset[name])}"]`;
    }
    const d = el.tagName === "SUMMARY" && el.parentElement.dataset.phase;
    return d ? `details[data-phase="${CSS.escape(d)}"] > summary` : null;
  };

  const place = (html) => {
    const el = fragment(html), stay = atEnd(), old = $(el.id);
    adopt(el);
    if (old) {
      el.classList.add("still");
      const focus = old.contains(document.activeElement) ? handle(document.activeElement) : null;
      old.replaceWith(el);
      if (focus) el.querySelector(focus)?.focus({ preventScroll: true });
      if (old.dataset.tone !== el.dataset.tone) announce(el.getAttribute("aria-label") || "");
    } else {
      let next = messages.lastElementChild, before = null;
      while (next && next.id > el.id) { before = next; next = next.previousElementSibling; }
      messages.insertBefore(el, before);
      if (el.classList.contains("bot")) announce(el.getAttribute("aria-label") || "New message");
    }
    if (threadID === el.id && el.hasAttribute("aria-label")) {
      const title = thread.querySelector("h2");
      if (title) title.textContent = el.getAttribute("aria-label");
    }
    if (stay) toEnd();
    else if (!old) $("newest").hidden = false;
  };
  scroll.addEventListener("scroll", () => {
    ended = atEnd();
    if (ended) $("newest").hidden = true;
  }, { passive: true });
  $("newest").addEventListener("click", toEnd);

  // --- threads ---
  let threadID = null;
  const lines = () => thread.querySelector("[data-lines]");
  const count = (id, total) => {
    for (const el of document.querySelectorAll(`[data-count="${id}"]`)) el.textContent = total;
  };
  const addLines = (html) => {
    const el = fragment(html), id = el.dataset.message;
    count(id, el.dataset.total);
    const box = lines();
    if (!box || box.dataset.lines !== id) return;
    const stay = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
    const last = Number(box.querySelector(".line:last-of-type")?.dataset.n || 0);
    if (Number(el.dataset.total) < last) { openThread(id, false); return; } // another bot counts anew
    for (const p of [...el.children]) if (Number(p.dataset.n) > last) box.append(p);
    if (stay) box.scrollTop = box.scrollHeight;
  };
  const openThread = async (id, focus) => {
    threadID = id;
    const res = await fetch(`/chat/messages/${encodeURIComponent(id)}/thread`).catch(() => null);
    if (threadID !== id) return;
    if (!res || !res.ok) { closeThread(); return; }
    const html = await res.text();
    if (threadID !== id) return;
    thread.innerHTML = html;
    thread.hidden = false;
    history.replaceState(null, "", "#" + id);
    const box = lines();
    box.scrollTop = box.scrollHeight;
    if (focus) thread.querySelector("[data-close-thread]").focus();
  };
  const closeThread = () => {
    const from = threadID;
    threadID = null;
    thread.hidden = true;
    thread.replaceChildren();
    history.replaceState(null, "", location.pathname);
    if (from) document.querySelector(`[data-thread="${CSS.escape(from)}"]`)?.focus({ preventScroll: true });
  };

  // --- the stream: one per page, resumed where it broke off ---
  let source = null, cursor = document.body.dataset.cursor, heard = Date.now(), retry = 0, wanted = true;
  const link = (state, text) => {
    $("link").dataset.state = state;
    $("link-text").textContent = text;
    $("lost").hidden = state !== "lost";
  };
  const on = (kind, f) => source.addEventListener(kind, (ev) => {
    heard = Date.now();
    if (ev.lastEventId) cursor = ev.lastEventId;
    f(ev.data);
  });
  const connect = () => {
    clearTimeout(retry);
    source?.close();
    heard = Date.now();
    source = new EventSource("/chat/events?after=" + encodeURIComponent(cursor));
    source.onopen = () => link("live", "live");
    source.onerror = () => {
      if (!wanted) return;
      link("lost", "offline");
      if (source.readyState === EventSource.CLOSED) retry = setTimeout(again, 2000);
    };
    on("message", place);
    on("lines", addLines);
    on("panel", (html) => {
      const el = fragment(html), old = $(el.id);
      const focus = old?.contains(document.activeElement) && document.activeElement.dataset.gotoJob;
      adopt(el);
      old?.replaceWith(el);
      siftAll();
      if (focus) el.querySelector(`[data-goto-job="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
    });
    on("beat", (now) => { offset = Number(now) - Date.now(); });
  };
  // again asks first whether we are still let in: a stream can't tell.
  const again = async () => {
    const res = await fetch("/chat/complete?text=").catch(() => null);
    if (res && res.status === 401) location.reload();
    else connect();
  };
  setInterval(() => { // two heartbeats are missing: the line is dead, whatever the browser thinks
    if (wanted && Date.now() - heard > 40000) { link("lost", "offline"); connect(); }
  }, 5000);
  // Browsers allow six connections to one host: a page that nobody sees gives
  // its own back, and catches up when it is looked at again.
  let away = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(away);
    if (!document.hidden) {
      if (!wanted) { wanted = true; connect(); }
    } else {
      away = setTimeout(() => { wanted = false; source.close(); }, 20000);
    }
  });

  // --- the filter: every word has to be somewhere in a row, and where there
  // are several clusters the row may be of the chosen one only ---
  const find = $("find"), cluster = $("cluster"); // null where there is only one
  const elsewhere = (el) => Boolean(cluster?.value && el.dataset.cluster && el.dataset.cluster !== cluster.value);
  const sift = (root) => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const panel of root.querySelectorAll(".panel[data-cluster]")) panel.hidden = elsewhere(panel);
    for (const row of root.querySelectorAll(".rows > li")) {
      const text = row.textContent.toLowerCase();
      row.hidden = elsewhere(row) || !words.every((w) => text.includes(w));
    }
  };
  const siftAll = () => {
    sift(side);
    $("found-none").hidden = !find.value.trim() || side.querySelector(".rows > li:not([hidden])") !== null;
  };
  find.addEventListener("input", siftAll);
  if (cluster) {
    cluster.value = sessionStorage.getItem("cluster") || "";
    if (cluster.selectedIndex < 0) cluster.value = ""; // it is gone
    cluster.addEventListener("change", () => { sessionStorage.setItem("cluster", cluster.value); siftAll(); });
    siftAll();
  }
  find.addEventListener("keydown", (ev) => {
    if (ev.key !== "Escape") return;
    ev.stopPropagation();
    if (find.value) { find.value = ""; siftAll(); } else line.focus();
  });
  document.addEventListener("keydown", (ev) => {
    if (ev.key.toLowerCase() !== "k" || !(ev.ctrlKey || ev.metaKey) || document.querySelector("dialog[open]")) return;
    ev.preventDefault();
    if (getComputedStyle(side).display === "none" && threadID) closeThread();
    if (getComputedStyle(side).display === "none") $("toggle-side").click();
    find.focus();
    find.select();
  });

  // --- sending ---
  let noticeTimer = 0;
  const notice = (text) => {
    clearTimeout(noticeTimer);
    $("notice").textContent = text;
    $("notice").hidden = !text;
    if (text) noticeTimer = setTimeout(() => { $("notice").hidden = true; }, 6000);
  };
  const newID = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  const sleep = (ms) => new Promise((done) => { setTimeout(done, ms); });

  // send tries twice with one id: the bot knows that it is the same thing.
  const send = async (path, body) => {
    body.id = newID();
    for (let attempt = 0; ; attempt++) {
      let res;
      try {
        res = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
      } catch {
        if (attempt < 1) { await sleep(700); continue; }
        notice("The bot does not answer. Your line is still here: send it again in a moment.");
        return null;
      }
      const answer = await res.json().catch(() => ({}));
      if (res.ok) { notice(""); return answer; }
      notice([answer.error?.say, answer.error?.try].filter(Boolean).join("; ") || "That did not work.");
      return null;
    }
  };
  const show = (answer) => {
    if (!answer?.form) return;
    $("form").innerHTML = answer.form;
    line.blur(); // else Chromium gives the focus back too early: the line would have it and take no letters
    $("form").showModal();
    $("form").querySelector("input, select")?.focus();
  };

  // --- the line ---
  const readPast = () => { try { return JSON.parse(localStorage.getItem("pvebot.lines")) || []; } catch { return []; } };
  let past = readPast(), back = 0, draft = "", picked = -1, asked = 0, typing = 0;
  const remember = (text) => {
    past = [...past.filter((p) => p !== text), text].slice(-100);
    try { localStorage.setItem("pvebot.lines", JSON.stringify(past)); } catch { /* a private window keeps nothing */ }
    back = 0;
  };
  const setLine = (text) => { line.value = text; line.setSelectionRange(text.length, text.length); };
  const hideChoices = () => {
    asked++;
    clearTimeout(typing);
    picked = -1;
    choicesBox.hidden = true;
    choices.replaceChildren();
    line.setAttribute("aria-expanded", "false");
    line.removeAttribute("aria-activedescendant");
  };
  const pick = (i) => {
    const all = [...choices.children];
    picked = (i + all.length) % all.length;
    all.forEach((li, n) => li.setAttribute("aria-selected", String(n === picked)));
    line.setAttribute("aria-activedescendant", all[picked].id);
    all[picked].scrollIntoView({ block: "nearest" });
  };
  const complete = async () => {
    const mine = ++asked, text = line.value;
    const res = await fetch("/chat/complete?text=" + encodeURIComponent(text)).catch(() => null);
    const html = res && res.ok ? await res.text() : "";
    if (mine !== asked || text !== line.value) return;
    choices.innerHTML = html;
    picked = -1;
    choicesBox.hidden = !choices.childElementCount;
    line.setAttribute("aria-expanded", String(!choicesBox.hidden));
    line.removeAttribute("aria-activedescendant");
  };
  const accept = (li) => {
    setLine(li.dataset.value.replace(/\s*$/, " "));
    hideChoices();
    line.focus();
    complete();
  };
  line.addEventListener("input", () => {
    back = 0;
    clearTimeout(typing);
    if (line.value.trim()) typing = setTimeout(complete, 80); else hideChoices();
  });
  line.addEventListener("keydown", (ev) => {
    const open = !choicesBox.hidden && choices.childElementCount > 0;
    if (ev.key === "Escape" && open) { hideChoices(); ev.stopPropagation(); return; }
    if (ev.key === "Tab" && !ev.shiftKey && open) { ev.preventDefault(); accept(choices.children[Math.max(picked, 0)]); return; }
    if (ev.key === "Enter" && open && picked >= 0) { ev.preventDefault(); accept(choices.children[picked]); return; }
    if (ev.key !== "ArrowUp" && ev.key !== "ArrowDown") return;
    const up = ev.key === "ArrowUp";
    if (open && back === 0) { ev.preventDefault(); pick(up ? (picked < 0 ? -1 : picked - 1) : picked + 1); return; }
    if (back === 0) draft = line.value;
    const to = back + (up ? 1 : -1);
    if (to < 0 || to > past.length) return;
    ev.preventDefault();
    back = to;
    setLine(back ? past[past.length - back] : draft);
  });
  line.addEventListener("blur", () => setTimeout(hideChoices, 150));
  choices.addEventListener("mousedown", (ev) => {
    const li = ev.target.closest("li");
    if (li) { ev.preventDefault(); accept(li); }
  });
  $("composer").addEventListener("submit", async (ev) => {
    ev.preventDefault();
    const text = line.value.trim();
    hideChoices();
    if (!text) return;
    line.value = "";
    remember(text);
    toEnd();
    const answer = await send("/chat/command", { text });
    if (!answer && !line.value) setLine(text);
    show(answer);
  });

  // --- forms and questions ---
  $("form").addEventListener("submit", async (ev) => {
    ev.preventDefault();
    const f = ev.target, button = f.querySelector("[type=submit]");
    const tell = (errors) => {
      let first = null;
      for (const box of f.querySelectorAll("[data-field]")) {
        const say = errors[box.dataset.field] || "", out = box.querySelector("[data-error]");
        out.textContent = say;
        out.hidden = !say;
        const input = box.querySelector("input, select");
        input.setAttribute("aria-invalid", String(Boolean(say)));
        if (say) first ??= input;
      }
      first?.focus();
      return first !== null;
    };
    const fields = Object.fromEntries(new FormData(f)), missing = {};
    for (const input of f.querySelectorAll("[required]")) if (!input.value.trim()) missing[input.name] = "This is needed.";
    if (tell(missing)) return;
    button.disabled = true;
    const answer = await send("/chat/submit", { form: f.dataset.form, fields });
    button.disabled = false;
    if (!answer) return;
    if (answer.errors && tell(answer.errors)) return;
    $("form").close();
    show(answer);
  });
  $("form").addEventListener("close", () => { if (!$("form").open) line.focus(); });
  const ask = (text, label) => new Promise((done) => {
    const d = $("ask");
    $("ask-text").textContent = text;
    $("ask-yes").textContent = label;
    d.returnValue = "no";
    d.addEventListener("close", () => done(d.returnValue === "yes"), { once: true });
    d.showModal();
  });
  const click = async (b) => {
    const box = b.closest(".message, .ask"), message = /^m[0-9a-f]{14}$/.test(box.id) ? box.id : "";
    if (b.dataset.confirm && !(await ask(b.dataset.confirm, b.textContent))) return;
    const all = [...box.querySelectorAll("[data-button]")];
    all.forEach((x) => { x.disabled = true; });
    show(await send("/chat/click", { message, button: b.dataset.button }));
    all.forEach((x) => { x.disabled = false; });
  };

  // --- everything else that can be pressed ---
  const flash = (b, text) => {
    const was = b.textContent;
    b.textContent = text;
    setTimeout(() => { b.textContent = was; }, 1500);
  };
  // fetchCard brings the card of a job that was ordered elsewhere, or long ago.
  const fetchCard = async (id) => {
    const res = await fetch(`/chat/jobs/${encodeURIComponent(id)}`).catch(() => null);
    if (!res?.ok) return null;
    const el = fragment(await res.text());
    adopt(el);
    messages.append(el);
    return el;
  };
  const gotoJob = async (id) => {
    const all = document.querySelectorAll(`.message[data-job="${CSS.escape(id)}"]`);
    let el = all[all.length - 1];
    if (!el || el.id.startsWith("job-")) { el?.remove(); el = await fetchCard(id); }
    side.classList.remove("shown");
    $("toggle-side").setAttribute("aria-expanded", "false");
    if (!el) { notice(`The card of job ${id} is not on this page any more.`); return; }
    el.scrollIntoView({ block: "center", behavior: "smooth" });
    el.classList.add("found");
    setTimeout(() => el.classList.remove("found"), 1600);
  };
  document.addEventListener("click", (ev) => {
    const b = ev.target.closest("button");
    if (!b) return;
    const d = b.dataset;
    if (d.button !== undefined) click(b);
    else if (d.thread) { if (threadID === d.thread) closeThread(); else openThread(d.thread, true); }
    else if (d.closeThread !== undefined) closeThread();
    else if (d.closeForm !== undefined) $("form").close();
    else if (d.line) { setLine(d.line); line.focus(); }
    else if (d.gotoJob) gotoJob(d.gotoJob);
    else if (d.copy !== undefined) {
      const done = navigator.clipboard?.writeText(d.copy);
      if (done) done.then(() => flash(b, "Copied"), () => flash(b, "Select it"));
      else flash(b, "Select it"); // no clipboard without https or loopback
    } else if (b.id === "toggle-side") {
      b.setAttribute("aria-expanded", String(side.classList.toggle("shown")));
    }
  });
  document.addEventListener("keydown", (ev) => {
    if (ev.key === "Escape" && threadID && !document.querySelector("dialog[open]")) closeThread();
  });

  for (const el of messages.children) adopt(el);
  localize(document);
  toEnd();
  connect();
  const hash = location.hash.slice(1);
  if ($(hash)?.classList.contains("message")) openThread(hash, false);
})();
