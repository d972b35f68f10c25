// The Chinese pages say so, for fonts, hyphenation and screen readers.
if (/\/zh\//.test(location.pathname)) document.documentElement.lang = "zh-CN";
