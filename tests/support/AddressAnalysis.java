import java.io.IOException;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.FilteringTokenFilter;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.email.UAX29URLEmailTokenizer;
import org.apache.lucene.analysis.pattern.PatternCaptureGroupTokenFilter;
import org.apache.lucene.analysis.tokenattributes.CharTermAttribute;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;

/**
 * What the test server's build lacks and its own index of API keys is analysed with: the token filters
 * `pattern_capture` and `unique` and the tokenizer `uax_url_email`. Elasticsearch's module analysis-common,
 * which has them, is not published.
 */
public class AddressAnalysis extends Plugin implements AnalysisPlugin {

    @Override
    public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
        return Map.of(
            "pattern_capture",
            (index, environment, name, settings) -> {
                boolean original = settings.getAsBoolean("preserve_original", true);
                List<String> texts = settings.getAsList("patterns");
                Pattern[] patterns = texts.stream().map(Pattern::compile).toArray(Pattern[]::new);
                return new Filter(name, words -> new PatternCaptureGroupTokenFilter(words, original, patterns));
            },
            "unique",
            (index, environment, name, settings) -> new Filter(name, Unique::new)
        );
    }

    @Override
    public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
        return Map.of(
            "uax_url_email",
            (index, environment, name, settings) -> TokenizerFactory.newFactory(name, UAX29URLEmailTokenizer::new)
        );
    }

    private record Filter(String name, UnaryOperator<TokenStream> over) implements TokenFilterFactory {
        @Override
        public TokenStream create(TokenStream words) {
            return over.apply(words);
        }
    }

    private static final class Unique extends FilteringTokenFilter {
        private final CharTermAttribute word = addAttribute(CharTermAttribute.class);
        private final Set<String> seen = new HashSet<>();

        Unique(TokenStream words) {
            super(words);
        }

        @Override
        protected boolean accept() {
            return seen.add(word.toString());
        }

        @Override
        public void reset() throws IOException {
            super.reset();
            seen.clear();
        }
    }
}
