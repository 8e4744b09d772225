// Applies the remembered theme before the first paint, so that nothing flashes. A classic
// script on purpose: modules run too late. The switch itself lives in prefs.js.
try {
  const theme = localStorage.getItem('tidewatch.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden; the system's scheme applies.
}
