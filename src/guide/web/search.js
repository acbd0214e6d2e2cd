// Searches the sections of the guide for all words of the query, as it is typed.
const RESULTS_MAX = 30;
const EXCERPT_CHARACTERS = 160;

const input = document.getElementById('q');
const results = document.getElementById('results');
const loaded = fetch('docs/search.json').then((answer) => answer.json());

function excerpt(text, word) {
  const at = Math.max(0, text.toLowerCase().indexOf(word) - EXCERPT_CHARACTERS / 4);
  return (at > 0 ? '…' : '') + text.slice(at, at + EXCERPT_CHARACTERS) + '…';
}

function shown(section, word) {
  const item = document.createElement('li');
  const link = document.createElement('a');
  link.href = `docs/${section.page}${section.anchor && `#${section.anchor}`}`;
  link.textContent = section.anchor ? `${section.chapter}: ${section.title}` : section.chapter;
  const text = document.createElement('div');
  text.textContent = excerpt(section.text, word);
  item.append(link, text);
  return item;
}

async function search() {
  const query = input.value;
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const sections = await loaded;
  if (query !== input.value) return; // another search has begun
  results.replaceChildren();
  if (words.length === 0) return;
  const has = (text) => words.every((word) => text.toLowerCase().includes(word));
  const found = sections.filter((section) => has(`${section.chapter} ${section.title} ${section.text}`));
  found.sort((a, b) => has(b.title) - has(a.title));
  const heading = document.createElement('h2');
  heading.textContent = found.length === 0 ? `Nothing has “${query}”` : `${found.length} sections have “${query}”`;
  const list = document.createElement('ul');
  list.append(...found.slice(0, RESULTS_MAX).map((section) => shown(section, words[0])));
  results.append(heading, list);
}

input.value = new URLSearchParams(location.search).get('q') ?? '';
input.addEventListener('input', search);
document.addEventListener('keydown', (event) => {
  if (event.key === '/' && document.activeElement !== input) {
    event.preventDefault();
    input.focus();
  }
});
search();
