// What the page does by itself: theme and language, links inside a conversation, `#` in the question box, keys.
(() => {
  const stored = localStorage.getItem('ragstone_theme');
  const dark = () => document.body.classList.contains('dark');
  if (stored) {
    const apply = () => document.body.classList.toggle('dark', stored === 'dark');
    for (const later of [0, 300, 1000]) setTimeout(apply, later); // Gradio sets its own once it has started
  }
  // Tells the app what was pressed in an HTML part: through an unseen text box, whose text differs each time.
  let presses = 0;
  const tell = (part, what) => {
    const field = document.querySelector(`#${part}-pressed :is(textarea, input)`);
    if (!field) return;
    field.value = JSON.stringify({ ...what, press: `${Date.now()} ${++presses}` });
    field.dispatchEvent(new Event('input', { bubbles: true }));
  };
  const act = (action) => tell('chat', { action });
  const go = (tab) => {
    if (tab !== 'chat') return tell('page', { tab });
    document.cookie = 'ragstone_setup=seen; path=/; max-age=31536000; samesite=lax'; // it is not led there again
    location.reload(); // what can be asked, and about what, may be new
  };

  // On a narrow page the list of chats and the passages lie over the rest, which cannot be reached meanwhile.
  const narrow = matchMedia('(max-width: 900px)');
  let pane = null, before = null;
  const rest = (inert) => {
    for (const part of document.querySelectorAll('#head, #tabs > .tab-wrapper, #chat-side, #chat-main, #chat-evidence'))
      part.inert = inert && part !== pane;
  };
  const shut = () => {
    if (!pane) return;
    pane.classList.remove('rs-open');
    ['role', 'aria-modal', 'aria-label'].forEach((name) => pane.removeAttribute(name));
    pane = null;
    rest(false);
    if (before?.isConnected) before.focus();
  };
  const show = (id, label) => {
    const part = document.getElementById(id);
    if (!narrow.matches || !part || part === pane) return;
    shut();
    [pane, before] = [part, document.activeElement];
    part.classList.add('rs-open');
    Object.entries({ role: 'dialog', 'aria-modal': 'true', 'aria-label': label }).forEach((pair) => part.setAttribute(...pair));
    rest(true);
    part.querySelector('button')?.focus();
  };
  narrow.addEventListener('change', shut);
  const passages = () => show('chat-evidence', document.querySelector('#evidence h2')?.innerText ?? '');
  const keys = () => {
    const list = document.getElementById('rs-keys');
    shut(); // what holds the list cannot be reached while a pane is open
    if (list?.open) list.close();
    else list?.showModal();
  };

  const reveal = (n) => {
    const card = document.getElementById(`source-${n}`);
    if (!card) return;
    passages();
    card.open = true;
    card.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
    card.querySelector('summary').focus({ preventScroll: true });
  };
  // Gradio copies what it was given to show; people want what they read, without the signs and the ways to versions.
  const copied = (button) => {
    const message = button.closest('.message-buttons')?.previousElementSibling?.querySelector('[data-testid]');
    if (!message) return false;
    const text = message.cloneNode(true);
    text.querySelectorAll('sup').forEach((sign) => sign.remove());
    text.querySelectorAll('a[href^="#turn-"], a[href^="#more-"]').forEach((way) => way.closest('p')?.remove());
    text.querySelectorAll('.katex-display, .katex').forEach((formula) => { // shown and, unseen, as MathML with its LaTeX
      const sign = formula.matches('.katex-display') ? '$$' : '$';
      const latex = formula.querySelector('annotation')?.textContent;
      if (latex) formula.replaceWith(`${sign}${latex}${sign}`);
    });
    document.body.append(text); // innerText knows line breaks only of what is on the page
    const plain = text.innerText.trim();
    text.remove();
    navigator.clipboard?.writeText(plain);
    return Boolean(navigator.clipboard);
  };
  addEventListener('click', (event) => {
    const copy = event.target.closest('#chat .message-buttons button');
    if (copy && /copy|复制/i.test(copy.ariaLabel ?? '') && copied(copy)) {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    if (event.target.closest('#question .submit-button, #chat-new')) sent(box());
    const control = event.target.closest('[data-page]');
    if (control?.dataset.page === 'theme') {
      document.body.classList.toggle('dark');
      localStorage.setItem('ragstone_theme', dark() ? 'dark' : 'light');
    } else if (control?.dataset.page === 'language') {
      document.cookie = `ragstone_language=${control.dataset.to}; path=/; max-age=31536000; samesite=lax`;
      location.reload();
    } else if (control?.dataset.page === 'chats') {
      show('chat-side', control.ariaLabel);
      return;
    } else if (control?.dataset.page === 'close') {
      return shut();
    } else if (control?.dataset.page === 'keys') {
      return keys();
    }
    const way = event.target.closest('[data-go]');
    if (way) {
      wanted = way.dataset.setting ?? null;
      return go(way.dataset.go);
    }
    if (event.target.closest('#chat-passages')) return passages();
    if (pane && (!pane.contains(event.target) || event.target.closest('[data-act=open], #chat-new'))) shut();
    const row = event.target.closest('button[data-value]');
    const list = row?.closest('[id^="knowledge-"], #settings-rows, [id^="setup-"]');
    if (list) return tell(list.id, { value: row.dataset.value });
    const chat = event.target.closest('#chat-list [data-act]');
    if (chat) {
      const { act, id, ask, title } = chat.dataset;
      const named = act === 'rename' ? prompt(ask, title) : act === 'delete' ? confirm(ask) && '-' : '-';
      return named && tell('chat-list', { act, id, title: named });
    }
    const file = event.target.closest('[data-unfile]');
    if (file) return tell('chat', { action: 'unfile', name: file.dataset.unfile });
    const link = event.target.closest('a[href^="#turn-"], a[href^="#source-"], a[href^="#more-"]');
    if (!link) return;
    event.preventDefault();
    const more = link.hash.match(/^#more-(\d+)$/);
    if (more) return tell('chat-more', { message: more[1] });
    const turn = link.hash.match(/^#turn-(\d+)-(-?1)$/);
    if (turn) return act(`turn:${turn[1]}:${turn[2]}`);
    const source = link.hash.match(/^#source-(\d+)-(\d+)$/);
    if (!source) return;
    if (document.querySelector(`.rs-evidence[data-message="${source[1]}"]`)) reveal(source[2]);
    else act(`show:${source[1]}:${source[2]}`);
  }, true);
  // Files that are dropped on the chat take the way of those that its button picks, where there is one.
  const drops = (event) => {
    const part = document.getElementById('chat-main');
    const inside = part?.contains(event.target) && [...event.dataTransfer?.types ?? []].includes('Files');
    const picker = inside && document.querySelector('#chat-line input[type=file]');
    part?.classList.toggle('rs-drop', Boolean(picker) && event.type === 'dragover');
    if (!picker) return;
    event.preventDefault();
    if (event.type !== 'drop' || !event.dataTransfer.files.length) return;
    picker.files = event.dataTransfer.files;
    picker.dispatchEvent(new Event('change', { bubbles: true }));
  };
  ['dragover', 'dragleave', 'drop'].forEach((kind) => addEventListener(kind, drops, true));
  setInterval(() => { // how far a file is that is being read
    if (document.querySelector('.rs-dropped[data-reading]')) tell('chat', { action: 'files' });
  }, 1000);
  addEventListener('change', (event) => { // which files of the list are marked
    const box = event.target.closest('#knowledge-files [data-mark]');
    if (!box) return;
    const boxes = [...document.querySelectorAll('#knowledge-files [data-mark]:not([data-mark=""])')];
    if (!box.dataset.mark) boxes.forEach((one) => { one.checked = box.checked; });
    const of = (checked) => boxes.filter((one) => one.checked === checked).map((one) => one.dataset.mark).join(' ');
    tell('knowledge-marks', { on: of(true), off: of(false) });
  });
  let shown = null; // the conversation that the address names
  let wanted = null; // the setting that a link leads to, once it can be chosen
  let led = /(?:^|; )ragstone_setup=/.test(document.cookie); // on a first visit to where it is set up
  new MutationObserver(() => {
    if (wanted && document.querySelector('#settings-rows-pressed') && document.querySelector('#settings-rows table')) {
      tell('settings-rows', { value: wanted });
      wanted = null;
    }
    if (!led && document.querySelector('[data-first]')) { led = true; go('setup'); }
    const chat = document.querySelector('[data-chat]')?.dataset.chat;
    if (chat !== undefined && chat !== shown) {
      shown = chat;
      history.replaceState(null, '', chat ? `?chat=${chat}` : location.pathname);
    }
    const panel = document.querySelector('.rs-evidence[data-focus]:not([data-focus="0"])');
    if (panel) { reveal(panel.dataset.focus); panel.dataset.focus = '0'; }
    const look = document.querySelector('[data-look]:not([data-look=""])'); // where one goes on
    if (look) { document.querySelector(`#${look.dataset.look} input`)?.focus(); look.dataset.look = ''; }
  }).observe(document.documentElement, { childList: true, subtree: true });

  const box = () => document.querySelector('#question textarea');
  // The app empties the box of what was asked. What was typed since then stays.
  let draft = '';
  const { get, set } = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value');
  const sent = (field) => {
    draft = '';
    if (!field || Object.hasOwn(field, 'value')) return;
    Object.defineProperty(field, 'value', {
      get,
      set(text) {
        if (text || !draft) set.call(field, text);
        else queueMicrotask(() => field.dispatchEvent(new Event('input', { bubbles: true }))); // else it counts as empty
      },
    });
  };

  // `#` offers knowledge bases and files.
  let offers = null, chosen = 0, latest = 0;
  const typed = () => {
    const field = box();
    return field && field === document.activeElement
      ? field.value.slice(0, field.selectionStart).match(/(?:^|\s)#("?)([^#"\n]*)$/) : null;
  };
  const close = () => { offers?.remove(); offers = null; box()?.removeAttribute('aria-activedescendant'); };
  const mark = (to) => {
    const rows = [...offers.children];
    chosen = (to + rows.length) % rows.length;
    rows.forEach((row, n) => row.setAttribute('aria-selected', n === chosen));
    rows[chosen].scrollIntoView({ block: 'nearest' });
    box().setAttribute('aria-activedescendant', rows[chosen].id);
  };
  const take = (name) => {
    const field = box(), at = field.selectionStart, found = typed();
    const start = at - found[2].length - found[1].length - 1;
    const put = /[\s"]/.test(name) ? `#"${name}" ` : `#${name} `;
    const text = field.value.slice(0, start) + put + field.value.slice(at);
    close();
    field.value = text;
    field.dispatchEvent(new Event('input', { bubbles: true }));
    field.focus();
    field.setSelectionRange(start + put.length, start + put.length);
  };
  const offer = async () => {
    const found = typed();
    if (!found || (!found[1] && /\s/.test(found[2]))) return close();
    const number = ++latest;
    const answer = await fetch(`mentions?typed=${encodeURIComponent(found[2])}`);
    if (!answer.ok || number !== latest || !typed()) return;
    const names = await answer.json();
    close();
    if (!names.length) return;
    offers = document.createElement('ul');
    offers.id = 'rs-offers';
    offers.setAttribute('role', 'listbox');
    names.forEach((name, n) => {
      const row = document.createElement('li');
      row.id = `rs-offer-${n}`;
      row.setAttribute('role', 'option');
      row.textContent = name;
      row.addEventListener('mousedown', (event) => { event.preventDefault(); take(name); });
      offers.append(row);
    });
    const place = box().getBoundingClientRect();
    Object.assign(offers.style, { left: `${place.left}px`, bottom: `${innerHeight - place.top + 4}px`, width: `${place.width}px` });
    document.body.append(offers);
    mark(0);
  };
  // While an input method composes, its keys are its own, and what stands in the box is not yet what was meant.
  addEventListener('input', (event) => {
    if (event.target !== box()) return;
    draft = event.target.value;
    if (!event.isComposing) offer();
  }, true);
  addEventListener('compositionend', (event) => { if (event.target === box()) offer(); });
  addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    if (offers) {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) mark(chosen + step);
      else if (event.key === 'Enter' || event.key === 'Tab') take(offers.children[chosen].textContent);
      else if (event.key === 'Escape') close();
      else return;
      event.preventDefault();
      event.stopImmediatePropagation();
    } else if (event.key === 'Enter' && !event.shiftKey && event.target === box()) {
      sent(event.target);
    } else if (event.key === 'Escape') {
      if (document.getElementById('rs-keys')?.open) return; // which closes by itself
      if (pane) shut();
      else document.querySelector('#question .stop-button')?.click();
    } else if (event.altKey && event.code === 'Slash') {
      event.preventDefault();
      keys();
    } else if (event.key === 'ArrowUp' && event.target === box() && !box().value) {
      const last = [...document.querySelectorAll('#chat .user-row')].at(-1);
      const edit = last?.nextElementSibling?.querySelector('button:is([aria-label=Edit], [aria-label=编辑])');
      if (edit) { event.preventDefault(); edit.click(); }
    } else if (event.altKey && event.code === 'KeyN') {
      event.preventDefault();
      document.querySelector('#chat-new')?.click();
      box()?.focus();
    } else if (event.altKey && event.code === 'KeyK') {
      event.preventDefault();
      show('chat-side', document.querySelector('[data-page=chats]')?.ariaLabel ?? '');
      document.querySelector('#chat-search textarea, #chat-search input')?.focus();
    }
  }, true);
  addEventListener('blur', (event) => { if (event.target === box()) close(); }, true);
})();
